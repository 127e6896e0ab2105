// Columns of a view, found by measure and statistic as the catalogue names them.

/** The column that holds a statistic of a measure, or undefined. */
export const columnOf = (view, measure, stat) => view.columns.find((c) => c.measure === measure && c.stat === stat)?.column;

/** Whether a chart can be drawn of a view: a list is read, and texts are. */
export const drawable = (view) => !view.top && view.measures.length > 0;

/** The column a chart of a measure draws: its mean, else the first it has. */
export const mainColumn = (view, measure) => columnOf(view, measure, "mean") ?? view.columns.find((c) => c.measure === measure)?.column ?? "n";

/** The statistic that a column holds. */
export const statOf = (view, column) => view.columns.find((c) => c.column === column)?.stat ?? "";

/** The measure that is shown of a view: the one chosen, else the first. */
export const shownMeasure = (view, state) =>
  view.measures.some((m) => m.measure === state.measures[view.view]) ? state.measures[view.view] : view.measures[0].measure;

/** Measures of a view in words: `fare (USD)`. */
export const measureTitle = (view, name) => {
  const measure = view.measures.find((m) => m.measure === name);
  return measure?.unit ? `${name} (${measure.unit})` : name;
};

/** Decimal digits of a column: its measure's own, none for counts. */
export const scaleOf = (view, column) =>
  column.stat === "n" || column.stat === "distinct" ? 0 : Math.max(column.stat === "mean" || column.stat === "stddev" ? 1 : 0, view.measures.find((m) => m.measure === column.measure).scale);
