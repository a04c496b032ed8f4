// The table of options: sorted, filtered, and filled again when the what-if panel asks for it.
const table = (() => {
  const options = document.querySelector("#options");
  const body = options.tBodies[0];
  const list = document.querySelector("#sort-by");
  const counter = document.querySelector("#shown");

  function filter() {
    const wanted = document.querySelector("#filter-name").value.trim().toLowerCase();
    const fits = document.querySelector("#filter-fits").checked;
    const priced = document.querySelector("#filter-priced").checked;
    let shown = 0;
    for (const line of body.rows) {
      const isHome = line.dataset.key === "home";
      const named = !wanted || line.dataset.words.toLowerCase().includes(wanted);
      line.hidden = !isHome && !(named && (!fits || line.dataset.fits !== "no") && (!priced || line.dataset.cost !== ""));
      if (!line.hidden && !isHome) shown += 1;
    }
    counter.textContent = `${shown} of ${body.rows.length - 1} offers shown`;
  }

  function fillCell(line, name, interval, scale, missing) {
    const cell = line.querySelector(`[data-cell="${name}"]`);
    const spread = interval && !format.isExact(interval);
    cell.querySelector(".point").textContent = interval ? scale.bare().point(interval) : missing;
    cell.querySelector(".range").textContent = spread ? scale.bare().range(interval) : "";
    if (spread) cell.title = `${scale.range(interval)}, 95 times in 100`;
    else cell.removeAttribute("title");
    line.dataset[name] = interval ? String(interval.point) : "";
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
  function fill(options) {
    const scales = {
      time: format.durationScale(options.map((each) => each.time)),
      cost: format.usdScale(),
      co2: format.co2Scale(options.map((each) => each.co2)),
    };
    for (const [name, scale] of Object.entries(scales)) {
      const unit = document.querySelector(`#options thead [data-unit="${name}"]`);
      if (unit && scale.unit) unit.textContent = `, ${scale.unit}`;
    }
    for (const option of options) {
      const line = body.querySelector(`tr[data-key="${option.key}"]`);
      const missing = (name) => line.querySelector(`[data-cell="${name}"]`).dataset.missing;
      for (const [name, scale] of Object.entries(scales)) fillCell(line, name, option[name], scale, missing(name));
      if (option.isHome) continue;
      line.querySelector("th bdi").textContent = option.name;
      fillSpeed(line, option);
      line.dataset.cheaper = option.pCheaper === null ? "" : String(option.pCheaper);
      line.querySelector('[data-cell="cheaper"] .point').textContent = format.probability(option.pCheaper);
      line.dataset.price = option.hourly === null ? "" : String(option.hourly);
      const price = line.querySelector('[data-cell="price"]');
      price.querySelector(".point").textContent =
        option.hourly === null ? "no public price" : `${format.usd(option.hourly)} per hour`;
      price.querySelector(".range").textContent = option.asOf;
    }
  }

  function wire() {
    sorting.wire(options, (key) => { list.value = key; });
    list.addEventListener("change", () => sorting.sort(options, list.value, false));
    for (const name of ["filter-name", "filter-fits", "filter-priced"]) {
      document.querySelector(`#${name}`).addEventListener("input", filter);
    }
    filter();
  }

  return { wire, fill, filter };
})();
