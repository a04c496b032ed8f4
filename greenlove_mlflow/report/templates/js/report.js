// The page of one run: draws its charts, and answers the what-if panel.
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const facts = read("facts");
  const specs = read("charts");
  const form = document.getElementById("whatif");
  const hasTable = document.getElementById("options") !== null;
  const stored = [facts.home, ...facts.rows];
  // Of a chart in pixels: its height, a letter, a line, and where a name may stand above or below its point.
  const [CHART_HEIGHT, LETTER_WIDTH, LINE_HEIGHT, LABEL_OFFSETS] = [380, 8, 15, [-9, 16, -25, 32, -41, 48]];
  const ROLE = { true: "best trade-off", false: "other offers" };

  // The options as the charts draw them, in the units that the axes say.
  function optionData(options) {
    const time = format.durationScale(options.map((each) => each.time));
    const co2 = format.co2Scale(options.map((each) => each.co2));
    const rows = options.map((each, order) => ({
      name: each.name,
      order,
      role: each.isHome ? "here" : ROLE[Boolean(each.onFront)],
      co2_role: each.isHome ? "here" : "by the grid",
      on_front: Boolean(each.onFront),
      ...spread("time", each.time, time.factor),
      ...spread("cost", each.cost, 1),
      ...spread("co2", each.co2, co2.factor),
      co2_claim: each.claim === null || each.claim === undefined ? null : each.claim * co2.factor,
      claim_text: each.claim === 0 ? "0 g, as the provider claims" : format.co2(each.claim ?? null),
      time_text: format.duration(each.time),
      cost_text: format.money(each.cost, "no public price"),
      co2_text: format.co2(each.co2),
      basis: each.isHome ? "benchmarked here" : each.basis,
    }));
    const priced = rows.filter((row) => row.cost !== null);
    placeNames(priced);
    const seen = ["here", "by the grid", ...(rows.some((row) => row.co2_claim !== null) ? ["by the provider's claim"] : [])];
    return {
      cost_time: [{ rows: priced }, { time_title: `time, ${time.unit}`, money_ticks: moneyTicks(priced) }],
      carbon: [{ rows }, { co2_title: `CO2e, ${co2.unit}`, roles_seen: seen }],
    };
  }

  function moneyTicks(rows) {
    const ends = rows.flatMap((row) => [row.cost_low, row.cost_high]);
    return format.moneyTicks(Math.min(...ends), Math.max(...ends));
  }

  // Where the name of each named point stands: left of points in the right part, and above or below its neighbours'.
  function placeNames(rows) {
    const across = share(rows, (row) => [row.time_low, row.time, row.time_high]);
    const upward = share(rows, (row) => [row.cost_low, row.cost, row.cost_high]);
    const [width, height] = [document.getElementById("chart-cost_time").clientWidth || 900, CHART_HEIGHT];
    const taken = [];
    for (const row of [...rows].sort((one, other) => one.time - other.time)) {
      row.near_right = across(row.time) > 0.6;
      row.label_dy = LABEL_OFFSETS[0];
      if (row.role === ROLE.false) continue;
      const length = row.name.length * LETTER_WIDTH;
      const from = across(row.time) * width + (row.near_right ? -length : 0);
      const box = (dy) => ({ from, to: from + length, at: (1 - upward(row.cost)) * height + dy });
      const isFree = (dy) => !taken.some((other) => (
        other.from < box(dy).to && box(dy).from < other.to && Math.abs(other.at - box(dy).at) < LINE_HEIGHT));
      row.label_dy = LABEL_OFFSETS.find(isFree) ?? LABEL_OFFSETS[0];
      taken.push(box(row.label_dy));
    }
  }

  // A function from a value to its place on a logarithmic axis that holds all values, 0 to 1.
  function share(rows, values) {
    const logs = rows.flatMap(values).map(Math.log);
    const [low, high] = [Math.min(...logs), Math.max(...logs)];
    return (value) => (high > low ? (Math.log(value) - low) / (high - low) : 0.5);
  }

  function spread(name, value, factor) {
    const part = (end) => (value ? value[end] * factor : null);
    return { [name]: part("point"), [`${name}_low`]: part("low"), [`${name}_high`]: part("high") };
  }

  function drawCharts() {
    const options = hasTable ? optionData(stored) : {};
    for (const [name, spec] of Object.entries(specs)) {
      const { titles, ...data } = facts.charts[name] ?? {}; // titles: of axes, and categories that have data
      const [rows, rowTitles] = options[name] ?? [data, titles];
      charts.draw(name, spec, rows, rowTitles);
    }
  }

  function showFigures(home) {
    const texts = {
      time: [format.durationPoint(home.time), format.isExact(home.time) ? "" : format.durationRange(home.time)],
      energy: split(format.kwh(home.energy)),
      cost: split(format.money(home.cost, "not known")),
      co2: split(format.co2(home.co2, "not known")),
    };
    for (const [name, [value, range]] of Object.entries(texts)) {
      const figure = document.querySelector(`[data-figure="${name}"]`);
      figure.querySelector(".value").textContent = value;
      figure.querySelector(".spread").textContent = range;
    }
    // Measured is what happened; what is asked now is estimated.
    document.querySelector('[data-figure="energy"] h2').textContent = "Energy";
  }

  // What each figure rests on: what the reader typed, else what the run's estimate had.
  function showNotes(inputs) {
    const { epochs, price, intensity, pue } = inputs;
    const typed = {
      time: epochs === 1 ? "1 epoch" : `${format.count(epochs)} epochs`,
      energy: pue === null ? null : `PUE ${pue}, as you typed`,
      cost: price === null ? null : `electricity at ${format.usd(price)} per kWh, as you typed`,
      co2: intensity === null ? null : `${format.count(intensity)} g per kWh, as you typed`,
    };
    for (const [name, text] of Object.entries(typed)) {
      const note = document.querySelector(`[data-figure="${name}"] .note`);
      note.textContent = text ?? note.dataset.assumed;
    }
  }

  function split(text) {
    const [value, range] = text.split(" (");
    return [value, range ? range.replace(/\)$/, "") : ""];
  }

  function showVerdict(options) {
    const sentences = verdict.sentences(options, facts.start_s);
    const place = document.getElementById("verdict");
    place.hidden = false;
    place.replaceChildren(...sentences.map((sentence, index) => {
      const line = document.createElement(index ? "p" : "h1");
      if (index) line.className = "lead";
      line.textContent = format.together(sentence);
      return line;
    }));
    const fold = document.getElementById("options-fold");
    if (fold && !verdict.isTooSmall(options, facts.start_s)) fold.open = true;
  }

  // The parts of the page that a what-if rewrites, as the run left them.
  const parts = ["verdict", "figures"].map((id) => document.getElementById(id));
  const own = parts.map((part) => [part.innerHTML, part.hidden]);

  function restore() {
    parts.forEach((part, index) => { [part.innerHTML, part.hidden] = own[index]; });
  }

  const original = form && {
    epochs: facts.home.plan.epoch_count,
    samples: facts.home.plan.sample_count,
    price: facts.home.price?.point ?? null,
    intensity: facts.home.intensity?.point ?? null,
    pue: facts.home.pue.point,
    version: facts.version,
    gpus: facts.rows[0]?.used ?? 1,
  };

  const shown = (value) => (value === null ? "" : String(Number(value.toPrecision(6))));

  function fillForm() {
    for (const name of ["epochs", "samples"]) form.elements[name].value = original[name];
    for (const name of ["price", "intensity", "pue"]) form.elements[name].value = shown(original[name]);
    if (form.elements.version) form.elements.version.value = original.version;
    if (form.elements.gpus) form.elements.gpus.value = String(original.gpus);
  }

  // What the reader typed; a figure left as the run had it keeps its range, one typed anew is taken as exact.
  function readForm() {
    const inputs = { version: form.elements.version?.value ?? "", gpus: Number(form.elements.gpus?.value ?? 1) };
    for (const name of ["epochs", "samples"]) inputs[name] = Math.round(Number(form.elements[name].value));
    for (const name of ["price", "intensity", "pue"]) {
      const text = form.elements[name].value;
      inputs[name] = text === "" || text === shown(original[name]) ? null : Number(text);
    }
    const bad = [...form.elements].find((field) => field.willValidate && !field.checkValidity());
    return [inputs, bad];
  }

  function isUnchanged(inputs) {
    return ["price", "intensity", "pue"].every((name) => inputs[name] === null)
      && ["epochs", "samples", "version", "gpus"].every((name) => String(inputs[name]) === String(original[name]));
  }

  function showOptions(options, version) {
    if (!hasTable) return;
    const sheet = facts.sheets.find((each) => each.version === version);
    table.fill(options, sheet?.as_of);
    table.filter();
    for (const [name, [rows, titles]] of Object.entries(optionData(options))) charts.update(name, rows, titles);
  }

  function answer() {
    const [inputs, bad] = readForm();
    const problem = document.getElementById("whatif-problem");
    problem.textContent = bad ? `${bad.closest("label").firstChild.textContent.trim()}: ${bad.validationMessage}` : "";
    if (bad || !inputs.epochs || !inputs.samples) return;
    const unchanged = isUnchanged(inputs);
    document.getElementById("assumed").hidden = unchanged;
    // The advice rests on the run's own values, and what happened was the run's own plan.
    document.getElementById("advice")?.toggleAttribute("hidden", !unchanged);
    for (const part of document.querySelectorAll(".happened")) part.hidden = !unchanged;
    restore();
    const options = unchanged ? stored : estimating.estimate(facts, inputs);
    if (!unchanged) {
      showVerdict(options);
      showFigures(options[0]);
      showNotes(inputs);
    }
    showOptions(options, inputs.version);
  }

  function wireForm() {
    if (form.elements.version) {
      const sheets = [...facts.sheets].reverse();
      form.elements.version.replaceChildren(...sheets.map((sheet) => new Option(sheet.as_of, sheet.version)));
      const counts = facts.rows.reduce(
        (common, row) => common.filter((count) => row.counts.some((each) => each.used === count)),
        facts.rows[0].counts.map((each) => each.used),
      );
      form.elements.gpus.replaceChildren(...counts.map((count) => new Option(count, count)));
      form.elements.gpus.closest("label").hidden = counts.length < 2;
    }
    fillForm();
    form.addEventListener("input", answer);
    form.addEventListener("submit", (event) => event.preventDefault());
    for (const button of document.querySelectorAll("[data-reset]")) {
      button.addEventListener("click", () => {
        fillForm();
        answer();
      });
    }
  }

  if (hasTable) table.wire();
  if (form) wireForm();
  panels.wire();
  charts.wire();
  drawCharts();
  window.greenlove = { facts, estimating, format, verdict };
})();
