// The panels of a dataset, out of what the catalogue says of it: no dataset is known by name.
import { drawable } from "./columns.js";
import { historyOf } from "./compare.js";

/** [{kind, name, title, wide, view|rule, history?}] in the order in which they are shown. */
export const panelsOf = (described) => {
  const windowed = described.views.filter((v) => v.window_s && drawable(v));
  const spread = described.views.filter((v) => !v.window_s && drawable(v));
  const lists = described.views.filter((v) => !drawable(v)).map((view) => ({ kind: "list", name: view.view, title: view.title, wide: true, view }));
  const maps = windowed.filter((v) => v.map).map((view) => ({ kind: "map", name: `${view.view}-map`, title: `${view.title}: map`, wide: true, view }));
  const series = windowed.map((view) => ({ kind: "series", name: view.view, title: view.title, wide: true, view }));
  const compare = windowed
    .map((view) => ({ view, history: historyOf(described.views, view, view.measures[0].measure) }))
    .filter(({ history }) => history)
    .map(({ view, history }) => ({ kind: "compare", name: `${view.view}-now`, title: `${view.title}: now against its history`, wide: false, view, history }));
  const spreads = spread.map((view) => ({ kind: "spread", name: view.view, title: view.title, wide: false, view }));
  const alerts = described.alerts.map((rule) => ({ kind: "alerts", name: rule.alert, title: rule.title, wide: true, rule }));
  const halves = [...compare, ...spreads];
  if (halves.length % 2) halves.push({ ...halves.pop(), wide: true }); // nothing stands beside the last
  return [...maps, ...series, ...halves, ...lists, ...alerts];
};
