/** What the elements use of Lit, for the type checker; browsers never load this file. */

export interface ReactiveController {
  hostConnected?(): void;
  hostDisconnected?(): void;
}

export interface TemplateResult {
  readonly strings: TemplateStringsArray;
  readonly values: unknown[];
}

export interface CSSResult {
  readonly cssText: string;
}

export class LitElement extends HTMLElement {
  static properties: Record<string, object>;
  static styles: CSSResult | CSSResult[];
  readonly renderRoot: ShadowRoot;
  readonly updateComplete: Promise<boolean>;
  addController(controller: ReactiveController): void;
  requestUpdate(): void;
  connectedCallback(): void;
  disconnectedCallback(): void;
  protected willUpdate(changed: Map<string, unknown>): void;
  protected updated(changed: Map<string, unknown>): void;
  protected render(): unknown;
}

export const nothing: unique symbol;
export const noChange: unique symbol;
export class Directive {
  update(part: unknown, given: any): unknown;
}
export function directive(made: new () => Directive): (...given: any[]) => unknown;
export function html(strings: TemplateStringsArray, ...values: unknown[]): TemplateResult;
export function svg(strings: TemplateStringsArray, ...values: unknown[]): TemplateResult;
export function css(strings: TemplateStringsArray, ...values: (CSSResult | number)[]): CSSResult;
export function live(value: unknown): unknown;
export function repeat<T>(items: Iterable<T>, key: (item: T, index: number) => unknown, template: (item: T, index: number) => unknown): unknown;
