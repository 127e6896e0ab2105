// /docs: the document /openapi.json as a page. No library, no network beyond that one file.

const element = (tag, attributes = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), attributes);
  made.append(...children);
  return made;
};
const code = (text) => element("code", { textContent: text });

/** The schema behind a reference. */
export const resolved = (whole, schema) => (schema?.$ref ? whole.components.schemas[schema.$ref.split("/").pop()] : schema);

/** A schema's type in words. */
export const typeText = (schema) => {
  if (schema.type === "array") return `${typeText(schema.items)}, repeatable`;
  if (schema.enum) return schema.enum.map((word) => JSON.stringify(word)).join(" | ");
  const types = [schema.type ?? "any"].flat().join(" | ");
  if (schema.format) return `${types}, ${schema.format}`;
  return schema.maximum ? `${types}, ${schema.minimum} to ${schema.maximum}` : types;
};

/** The fields of an object as (name, schema) lines, nested ones with dots. */
export const fieldsOf = (whole, schema, at = "") =>
  Object.entries(resolved(whole, schema)?.properties ?? {}).flatMap(([name, inner]) => {
    const one = resolved(whole, inner);
    const items = one.type === "array" ? resolved(whole, one.items) : null;
    const rest = one.properties ? fieldsOf(whole, one, `${at}${name}.`) : items?.properties ? fieldsOf(whole, items, `${at}${name}[].`) : [];
    return rest.length ? rest : [[`${at}${name}`, one]];
  });

/** The row that an answer repeats, or the answer itself. */
export const rowOf = (whole, schema) => {
  const one = resolved(whole, schema);
  if (one?.type === "array") return one.items;
  const data = one?.properties?.data;
  return data?.type === "array" ? data.items : one;
};

const table = (caption, heads, lines) =>
  element("div", { className: "scroll" }, element("table", {},
    element("caption", { textContent: caption, className: "soft" }),
    element("thead", {}, element("tr", {}, ...heads.map((h) => element("th", { scope: "col", textContent: h })))),
    element("tbody", {}, ...lines.map((cells) => element("tr", {}, ...cells.map((c) => element("td", {}, c))))),
  ));

/** A field to type a parameter's value into. */
function input(parameter, changed) {
  const one = parameter.schema.type === "array" ? parameter.schema.items : parameter.schema;
  const made = one.enum
    ? element("select", {}, element("option", { value: "", textContent: "" }), ...one.enum.filter((w) => w !== "").map((w) => element("option", { value: w, textContent: w })))
    : element("input", { type: "text", placeholder: String(one.examples?.[0] ?? "") });
  made.ariaLabel = `value of ${parameter.name}`;
  made.addEventListener("input", changed);
  return made;
}

function parameters(path, operation) {
  const known = operation.parameters?.filter((p) => p.in === "query") ?? [];
  const link = element("a", { className: "try" });
  const inputs = [];
  const show = () => {
    const asked = new URLSearchParams(known.flatMap((p, i) => (inputs[i].value ? [[p.name, inputs[i].value]] : [])));
    link.href = link.textContent = asked.size ? `${path}?${asked}` : path;
  };
  inputs.push(...known.map((p) => input(p, show)));
  show();
  const lines = known.map((p, i) => [code(p.name), typeText(p.schema), String((p.schema.default ?? "")), p.description ?? "", inputs[i]]);
  const ask = element("p", {}, "Ask: ", link);
  return lines.length ? [table("Parameters", ["name", "type", "default", "meaning", "value"], lines), ask] : path.includes("{") ? [] : [ask];
}

function operationOf(whole, path, method, operation) {
  const answer = operation.responses["200"]?.content ?? {};
  const row = rowOf(whole, answer["application/json"]?.schema);
  const fields = fieldsOf(whole, row).map(([name, s]) => [code(name), typeText(s), s["x-unit"] ?? "", s.description ?? ""]);
  const problems = Object.entries(operation.responses).map(([status, r]) => [code(status), r.description, Object.keys(r.content ?? {}).join(", ")]);
  return element("details", {},
    element("summary", {}, element("span", { className: "method", textContent: method.toUpperCase() }), code(path), element("span", { className: "soft", textContent: operation.summary })),
    ...(method === "get" ? parameters(path, operation) : []),
    ...(fields.length ? [table("Fields of a row", ["field", "type", "unit", "meaning"], fields)] : []),
    table("Answers", ["status", "when", "as"], problems),
  );
}

function draw(whole) {
  const sections = whole.tags.map((tag) => {
    const found = Object.entries(whole.paths).flatMap(([path, methods]) =>
      Object.entries(methods).filter(([, o]) => o.tags.includes(tag.name)).map(([method, o]) => operationOf(whole, path, method, o)));
    return element("section", {}, element("h2", { textContent: tag.description ?? tag.name }), ...found);
  });
  return [element("p", { className: "about", textContent: whole.info.description }), ...sections];
}

const page = globalThis.document?.getElementById("docs");
if (page) {
  try {
    const response = await fetch("/openapi.json", { headers: { Accept: "application/json" } });
    const whole = await response.json();
    if (!response.ok) throw new Error(whole.detail);
    page.replaceChildren(...draw(whole));
  } catch (error) {
    document.getElementById("notice").textContent = `/openapi.json cannot be read: ${error.message}`;
  }
}
