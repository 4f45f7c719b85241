/**
 * In charge of: colours, type, space and motion: the one place where they have values.
 * Knows about: --bc-* that a host may set; the page's color-scheme decides between light and dark, the attribute `theme` overrules it.
 * Does not know about: any element's layout.
 */
import { css } from '../vendor/lit.js';

/** For the outermost element only: everything inside inherits the names that begin with --_. */
export const tokens = css`
  :host {
    --_paper: var(--bc-paper, light-dark(#fbfaf7, #161a15));
    --_surface: var(--bc-surface, light-dark(#ffffff, #1d221c));
    --_ink: var(--bc-ink, light-dark(#23291f, #ecede6));
    --_soft: var(--bc-soft, light-dark(#5c6656, #a9b3a2));
    --_line: var(--bc-line, light-dark(#e3e1da, #31382f));
    --_hover: var(--bc-hover, light-dark(#f3f1eb, #242a23));
    --_theirs: var(--bc-theirs, light-dark(#efede6, #2a3028));
    --_mine: var(--bc-mine, light-dark(#4e6b52, #3f5c44));
    --_mine-ink: var(--bc-mine-ink, light-dark(#ffffff, #f4f8f2));
    --_mine-soft: var(--bc-mine-soft, light-dark(#dce8dc, #cfe0cf));
    --_accent: var(--bc-accent, light-dark(#a8492a, #f0936f));
    --_accent-ink: var(--bc-accent-ink, light-dark(#ffffff, #2a120a));
    --_danger: var(--bc-danger, light-dark(#a1260d, #ff9c85));
    --_focus: var(--bc-focus, light-dark(#1f5fbf, #8ab8ff));
    --_shadow: var(--bc-shadow, light-dark(rgb(35 41 31 / 0.16), rgb(0 0 0 / 0.5)));
    --_font: var(--bc-font, system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Inter, 'Noto Sans', sans-serif);
    --_radius: var(--bc-radius, 18px);
    --_card-radius: var(--bc-card-radius, 12px);
    --_motion: 150ms;
    font-family: var(--_font);
    font-size: 16px;
    line-height: 1.45;
    color: var(--_ink);
    -webkit-text-size-adjust: 100%;
    text-size-adjust: 100%;
  }
  :host([theme='light']) {
    color-scheme: light;
  }
  :host([theme='dark']) {
    color-scheme: dark;
  }
  @media (prefers-reduced-motion: reduce) {
    :host {
      --_motion: 0ms;
    }
  }
`;
