// The page of an experiment: draws its charts and sorts its table of runs.
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const facts = read("facts");
  for (const [name, spec] of Object.entries(read("charts"))) {
    const { titles, ...data } = facts.charts[name];
    charts.draw(name, spec, data, titles);
  }
  charts.wire();
  panels.wire();
  sorting.wire(document.querySelector("#runs"));
})();
