// The table of options: sorted, filtered, and filled again when the what-if panel asks for it.
const table = (() => {
  const options = document.querySelector("#options");
  const body = options.tBodies[0];
  const list = document.querySelector("#sort-by");
  const counter = document.querySelector("#shown");

  // Only the cheapest that can be had, until the reader asks for everything.
  function filter() {
    const isAll = document.querySelector("#show-all").checked;
    options.classList.toggle("brief", !isAll);
    for (const part of document.querySelectorAll(".toolbar .wide")) part.hidden = !isAll;
    const wanted = document.querySelector("#filter-name").value.trim().toLowerCase();
    const fits = document.querySelector("#filter-fits").checked;
    const priced = document.querySelector("#filter-priced").checked;
    let shown = 0;
    for (const line of body.rows) {
      const isHome = line.dataset.key === "home";
      const named = !wanted || line.dataset.words.toLowerCase().includes(wanted);
      const kept = named && (!fits || line.dataset.fits !== "no") && (!priced || line.dataset.cost !== "");
      line.hidden = !isHome && !(isAll ? kept : "brief" in line.dataset);
      if (!line.hidden && !isHome) shown += 1;
    }
    counter.textContent = `${shown} of ${body.rows.length - 1} offers shown`;
    window.dispatchEvent(new Event("resize"));
  }

  function put(line, name, point, range, words) {
    const cell = line.querySelector(`[data-cell="${name}"]`);
    cell.querySelector(".point").textContent = point;
    cell.querySelector(".range").textContent = range;
    if (words) cell.title = words;
    else cell.removeAttribute("title");
  }

  function fillCell(line, name, interval, scale, missing) {
    const spread = interval && !format.isExact(interval) ? scale.bare().range(interval) : "";
    const words = spread ? `${scale.range(interval)}, 95 times in 100` : "";
    put(line, name, interval ? scale.bare().point(interval) : missing, spread, words);
    line.dataset[name] = interval ? String(interval.point) : "";
  }

  function fillCost(line, interval, missing) {
    const [point, range] = format.money(interval, missing).split(" (");
    const spread = range ? range.replace(/\)$/, "") : "";
    put(line, "cost", point, spread, spread ? `${spread}, 95 times in 100` : "");
    line.dataset.cost = interval ? String(interval.point) : "";
  }

  function fillSpeed(line, option) {
    const ratio = option.ratio;
    const scale = new format.Scale("");
    const spread = `${scale.number(ratio.low, ratio)}x to ${scale.number(ratio.high, ratio)}x`;
    const cell = line.querySelector('[data-cell="speed"]');
    cell.querySelector(".point").textContent = `${scale.point(ratio)}x`;
    cell.querySelector(".range").textContent = format.isExact(ratio) ? "" : spread;
    line.dataset.speed = String(ratio.point);
  }

  // Show the options as estimated again, all columns in the unit that their smallest value asks for.
  function fill(lines, asOf) {
    const scales = {
      time: format.durationScale(lines.map((each) => each.time)),
      co2: format.co2Scale(lines.map((each) => each.co2)),
    };
    for (const [name, scale] of Object.entries(scales)) {
      const unit = document.querySelector(`#options thead [data-unit="${name}"]`);
      if (!unit || !scale.unit) continue;
      unit.textContent = `, ${scale.unit}`;
      const head = unit.closest("button").textContent;
      for (const cell of document.querySelectorAll(`#options [data-cell="${name}"]`)) cell.dataset.head = head;
    }
    if (asOf) document.querySelector("#prices-as-of").textContent = asOf;
    for (const option of lines) {
      const line = body.querySelector(`tr[data-key="${option.key}"]`);
      const missing = (name) => line.querySelector(`[data-cell="${name}"]`).dataset.missing;
      for (const [name, scale] of Object.entries(scales)) fillCell(line, name, option[name], scale, missing(name));
      fillCost(line, option.cost, missing("cost"));
      if (option.isHome) continue;
      line.querySelector("th bdi").textContent = option.name;
      fillSpeed(line, option);
      line.dataset.cheaper = option.pCheaper === null ? "" : String(option.pCheaper);
      line.querySelector('[data-cell="cheaper"] .point').textContent = format.probability(option.pCheaper);
      line.dataset.price = option.hourly === null ? "" : String(option.hourly);
      const price = line.querySelector('[data-cell="price"]');
      price.querySelector(".point").textContent =
        option.hourly === null ? "no public price" : `${format.usd(option.hourly)} per hour`;
      price.querySelector(".range").textContent = option.asOf === asOf ? "" : option.asOf;
    }
  }

  function wire() {
    sorting.wire(options, (key) => { list.value = key; });
    list.addEventListener("change", () => sorting.sort(options, list.value, false));
    for (const name of ["show-all", "filter-name", "filter-fits", "filter-priced"]) {
      document.querySelector(`#${name}`).addEventListener("input", filter);
    }
    filter();
  }

  return { wire, fill, filter };
})();
