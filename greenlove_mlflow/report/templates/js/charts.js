// Vega views: one per chart, filled with data by name, coloured by the style sheet, redrawn when the reader's setting
// turns from light to dark or the page is printed.
const charts = (() => {
  const views = new Map();
  const COLOURS = ["ink", "soft", "line", "paper", "blue", "vermillion", "green", "purple", "orange", "sky"];

  function colours() {
    const style = getComputedStyle(document.documentElement);
    return COLOURS.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]);
  }

  function paint(view) {
    for (const [name, value] of colours()) view.signal(name, value);
  }

  const LOOK = { mode: "vega", renderer: "svg", actions: false, logLevel: 1, tooltip: { theme: "page" } };

  async function draw(name, spec, data, titles = {}) {
    const place = document.querySelector(`#chart-${name}`);
    if (!place) return;
    const { view } = await vegaEmbed(place, filled(spec, data, titles), LOOK);
    views.set(name, view);
  }

  // The chart with its data, titles and colours in place, so that its first drawing is its last.
  function filled(spec, data, titles) {
    const values = { ...Object.fromEntries(colours()), ...titles };
    return {
      ...spec,
      data: spec.data.map((each) => (each.name in data ? { ...each, values: data[each.name] } : each)),
      signals: spec.signals.map((each) => (each.name in values ? { ...each, value: values[each.name] } : each)),
    };
  }

  function update(name, data, titles = {}) {
    const view = views.get(name);
    if (!view) return;
    for (const [key, rows] of Object.entries(data)) view.data(key, rows);
    for (const [key, text] of Object.entries(titles)) view.signal(key, text);
    view.resize().runAsync();
  }

  function repaint() {
    for (const view of views.values()) {
      paint(view);
      view.run();
    }
  }

  function wire() {
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
    const printing = (on) => () => {
      document.documentElement.classList.toggle("printing", on);
      repaint();
    };
    window.addEventListener("beforeprint", printing(true));
    window.addEventListener("afterprint", printing(false));
  }

  return { draw, update, wire, repaint };
})();
