/**
 * The one door to Lit: everything of it that the elements use, so that a new version touches one folder.
 */
export { LitElement } from './lit-element/lit-element.js';
export { css } from './reactive-element/css-tag.js';
export { html, noChange, nothing, svg } from './lit-html/lit-html.js';
export { Directive, directive } from './lit-html/directive.js';
export { live } from './lit-html/directives/live.js';
export { repeat } from './lit-html/directives/repeat.js';
