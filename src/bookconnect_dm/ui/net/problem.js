/**
 * In charge of: every way in which a call can fail, as one kind of error.
 * Knows about: problem+json and the codes of the contract; NETWORK is ours and means that no answer came.
 * Does not know about: what is done about it.
 */

export class ApiError extends Error {
  /** @param {import('../state/types.js').Problem} problem */
  constructor({ code, detail, field = null, status = 0, retry_after_s = 0 }) {
    super(detail || code);
    this.name = 'ApiError';
    this.code = code;
    this.detail = detail;
    this.field = field;
    this.status = status;
    this.retry_after_s = retry_after_s;
  }

  /** A plain object for the state. @returns {import('../state/types.js').Problem} */
  get problem() {
    const { code, detail, field, status, retry_after_s } = this;
    return { code, detail, field, status, retry_after_s };
  }
}

/** @param {string} detail */
export const networkError = (detail) => new ApiError({ code: 'NETWORK', detail });

/**
 * Any thrown thing as a problem.
 * @param {unknown} error
 * @returns {import('../state/types.js').Problem}
 */
export function toProblem(error) {
  return error instanceof ApiError ? error.problem : { code: 'INTERNAL', detail: String(error) };
}
