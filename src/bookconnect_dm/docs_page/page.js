// The page at /docs: shows openapi.json, and makes the calls that a reader wants to try.

/** An element with attributes and children; text becomes text, never markup. */
function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** Follows `$ref` into the document. */
function resolve(api, schema) {
  if (!schema?.$ref) return schema;
  return schema.$ref.slice(2).split("/").reduce((at, key) => at[key], api);
}

/** A value of the schema to start from: its example where there is one. */
function example(api, schema) {
  const found = resolve(api, schema);
  if (found.examples) return found.examples[0];
  if (found.anyOf) return example(api, found.anyOf[0]);
  if (found.type === "object") {
    return Object.fromEntries(Object.entries(found.properties ?? {}).map(([k, v]) => [k, example(api, v)]));
  }
  if (found.type === "array") return [example(api, found.items)];
  return found.default ?? { string: "", integer: 0, number: 0, boolean: false }[found.type] ?? null;
}

function answersTable(api, operation) {
  const rows = Object.entries(operation.responses).map(([status, answer]) => {
    const schema = Object.values(answer.content ?? {})[0]?.schema;
    const shape = schema?.$ref && status < 300 ? JSON.stringify(example(api, schema), null, 2) : "";
    return el("tr", {}, el("th", { scope: "row" }, status),
      el("td", {}, answer.description, ...(shape ? [el("pre", {}, shape)] : [])));
  });
  return el("table", {}, ...rows);
}

/** The form that makes a call, and shows what came back. */
function tryIt(api, method, path, operation) {
  const fields = operation.parameters.map((p) => {
    const input = el("input", { name: p.name, placeholder: p.description ?? p.schema.format ?? "" });
    return { p, input, label: el("label", {}, `${p.name}${p.required ? " (needed)" : ""}`, input) };
  });
  const schema = operation.requestBody?.content["application/json"].schema;
  const body = schema && el("textarea", { rows: "6", "aria-label": "Body" });
  if (body) body.value = JSON.stringify(example(api, schema), null, 2);
  const out = el("pre", { role: "status" });
  const form = el("form", {}, ...fields.map((f) => f.label), ...(body ? [body] : []),
    el("button", {}, "Call"), out);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    let url = path;
    const query = new URLSearchParams();
    for (const { p, input } of fields) {
      if (p.in === "path") url = url.replace(`{${p.name}}`, encodeURIComponent(input.value));
      else if (input.value) query.set(p.name, input.value);
    }
    const headers = { authorization: `Bearer ${document.getElementById("token").value.trim()}` };
    if (body) headers["content-type"] = "application/json";
    const answer = await fetch(query.size ? `${url}?${query}` : url, { method, headers, body: body?.value });
    const text = await answer.text();
    let shown = text;
    try { shown = JSON.stringify(JSON.parse(text), null, 2); } catch { /* not JSON: as it came */ }
    out.textContent = `${answer.status}\n${shown}`;
  });
  return form;
}

const api = await (await fetch("/openapi.json")).json();
document.getElementById("about").textContent = `Version ${api.info.version}. ${api.info.description}`;
document.getElementById("sign-in").addEventListener("submit", (event) => event.preventDefault());
const calls = Object.entries(api.paths).flatMap(([path, methods]) =>
  Object.entries(methods).filter(([method]) => method !== "head").map(([method, operation]) => {
    const upper = method.toUpperCase();
    return el("details", { id: operation.operationId },
      el("summary", {}, el("b", {}, upper), el("code", {}, path), ` ${operation.summary}`),
      tryIt(api, upper, path, operation), answersTable(api, operation));
  }));
document.getElementById("calls").replaceChildren(...calls);

const socket = await (await fetch("/asyncapi.json")).json();
document.getElementById("about-socket").textContent = socket.info.description;
const fromClients = new Set(Object.values(socket.operations)
  .filter((operation) => operation.action === "receive")
  .flatMap((operation) => operation.messages.map((message) => message.$ref.split("/").pop())));
document.getElementById("frames").replaceChildren(
  ...Object.entries(socket.components.messages).map(([name, message]) =>
    el("details", { id: name },
      el("summary", {}, el("b", {}, fromClients.has(name) ? "SEND" : "HEAR"), el("code", {}, message.name),
        ` ${message.summary}`),
      el("pre", {}, JSON.stringify(message.examples[0].payload, null, 2)))),
  el("table", {}, ...Object.entries(socket["x-close-codes"]).map(([code, meaning]) =>
    el("tr", {}, el("th", { scope: "row" }, code), el("td", {}, meaning)))));
