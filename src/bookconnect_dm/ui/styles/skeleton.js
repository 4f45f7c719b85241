/**
 * In charge of: grey shapes where content will be. They appear after 200 ms, so that what is fast never flashes.
 * Knows about: the tokens. Does not know about: which shapes.
 */
import { css } from '../vendor/lit.js';

export const skeleton = css`
  .skeleton {
    opacity: 0;
    animation: bc-appear 200ms ease-out 200ms forwards;
  }
  .bone {
    display: block;
    background: var(--_line);
    border-radius: 8px;
    opacity: 0.7;
  }
  @keyframes bc-appear {
    to {
      opacity: 1;
    }
  }
`;
