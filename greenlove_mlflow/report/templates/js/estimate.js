// The estimate made again in the page, by the formulas of greenlove_mlflow.core: timing.fit, account.run_facts and
// offers (step_on_offer.training_on_offer, figures.offer_figures, compare). A test compares page and library.
const estimating = (() => {
  const { exactly, scaled, shifted, fromWidth, fromSides, width, product, below, above, times } = arithmetic;
  const J_PER_KWH = 3.6e6;
  const S_PER_H = 3600;

  function total(one, other) {
    const absolute = Math.hypot(...[one, other].map((each) => each.point * Math.expm1(width(each))));
    const point = one.point + other.point;
    return fromWidth(point, point ? Math.log1p(absolute / point) : 0);
  }

  function rateLogSd(fit, seconds) {
    const futureBlocks = Math.max(1, seconds / fit.block_s);
    const blocks = 1 / Math.max(1, fit.block_count) + 1 / futureBlocks;
    const fast = fit.noise_log_sd ** 2 * fit.correlation_factor * blocks;
    return Math.sqrt(fast + fit.drift_log_sd ** 2 + fit.structure_log_sd ** 2);
  }

  function predictOriginal(fit, plan, scale) {
    const warmUp = fit.warm_up_s.slice(0, plan.epoch_count);
    const sum = warmUp.reduce((all, value) => all + value, 0);
    const point = (sum + (plan.epoch_count - warmUp.length) * fit.epoch_s) * scale;
    const half = fit.normal_quantile * Math.sqrt(plan.epoch_count) * fit.sigma_s * scale;
    return { point, low: Math.max(0, point - half), high: point + half };
  }

  function predictTime(fit, plan) {
    const scale = plan.sample_count / fit.sample_count;
    const validations = Math.floor(plan.epoch_count / plan.validation_every_epochs) * plan.validation_s;
    const given = plan.one_off_s + plan.epoch_count * plan.extra_per_epoch_s;
    if (fit.method === "original") return shifted(predictOriginal(fit, plan, scale), given + validations);
    const grown = (seconds) => (seconds - fit.overhead_s) * scale + fit.overhead_s;
    const rate = grown(fit.first_epoch_s) + (plan.epoch_count - 1) * grown(fit.epoch_s) + validations;
    const half = fit.conformal_log_half_width || fit.t_quantile * rateLogSd(fit, rate);
    const running = fromWidth(rate * Math.exp(fit.bias_log), half);
    const whole = fit.one_off_s > 0
      ? total(running, fromWidth(fit.one_off_s, fit.one_off_log_half_width)) : running;
    return shifted(whole, given);
  }

  // What the seconds of the plan are spent on, as shares of them; for the original's method all of them are steps.
  function timeShares(fit, plan) {
    if (fit.method === "original") return { steps: 1, validation: 0, fixed: 0, paid: 0 };
    const scale = plan.sample_count / fit.sample_count;
    const growing = fit.epoch_s - fit.overhead_s;
    const first = fit.first_epoch_s - fit.overhead_s;
    const bias = Math.exp(fit.bias_log);
    const steady = Math.min(first, growing) + (plan.epoch_count - 1) * growing;
    const beside = Math.max(0, first - growing) * scale + plan.epoch_count * fit.overhead_s;
    const given = plan.one_off_s + plan.epoch_count * plan.extra_per_epoch_s;
    const steps = steady * scale * bias;
    const validation = Math.floor(plan.epoch_count / plan.validation_every_epochs) * plan.validation_s * bias;
    const fixed = beside * bias + Math.max(0, fit.one_off_s) + given;
    const total = steps + validation + fixed;
    const paid = Math.max(0, fit.one_off_paid_s) / total;
    return { steps: steps / total, validation: validation / total, fixed: fixed / total, paid };
  }

  const SIDES = ["device", "thread", "loader"];

  // The log SD of a step's longest part, drifting from one part's to the other's where they come close.
  function mixedLogSd(step) {
    const weights = SIDES.map((name) => (step[name] ? Math.exp(step[name].log_point) : 0));
    const spread = SIDES.reduce((sum, name, index) => sum + (step[name] ? weights[index] * step[name].log_sd : 0), 0);
    return spread / weights.reduce((sum, weight) => sum + weight, 0);
  }

  // The parts of which the longest is the whole training on an offer, as shares of its time at home.
  function trainingParts(count, shares) {
    const whole = count.whole ? { steps: 1, validation: 0, fixed: 0, paid: 0 } : shares;
    const validationRatio = Math.exp(
      Math.max(...SIDES.filter((name) => count.validation[name]).map((name) => count.validation[name].log_point)));
    const checked = whole.validation * validationRatio;
    const unscaled = whole.fixed + whole.paid;
    const fixed = checked + unscaled;
    const fixedSd = fixed > 0
      ? (checked * mixedLogSd(count.validation) + unscaled * count.host_log_sd) / fixed : 0;
    return Object.entries(count.step).map(([name, part]) => {
      const ratio = Math.exp(part.log_point);
      const both = 1 + whole.steps * (ratio - 1) + whole.validation * (validationRatio - 1)
        + whole.paid;
      return {
        log_point: whole.steps === 1 && whole.paid === 0 ? part.log_point : Math.log(both),
        log_sd: (whole.steps * ratio * part.log_sd + fixed * fixedSd) / both,
        widens: name === "unknown",
      };
    });
  }

  // The chance that an offer's rent is less than the cost at home; home's time is in both and cancels.
  function chanceOfLess(hourly, home, started) {
    if (hourly === null || !home.cost) return null;
    if (home.cost.point <= 0) return 0;
    if (hourly <= 0) return 1;
    const breakEven = home.cost.point / ((hourly * home.time.point) / S_PER_H);
    const beside = (whole, shared) => Math.sqrt(Math.max(0, whole ** 2 - shared ** 2)) / normal.QUANTILE_95;
    return normal.probabilityBelowUncertain(started, Math.log(breakEven),
      beside(below(home.cost), below(home.time)), beside(above(home.cost), above(home.time)));
  }

  function estimateHome(home, inputs) {
    const time = predictTime(home.fit, { ...home.plan, epoch_count: inputs.epochs, sample_count: inputs.samples });
    const pue = inputs.pue === null ? home.pue : exactly(inputs.pue);
    const price = inputs.price === null ? home.price : exactly(inputs.price);
    const intensity = inputs.intensity === null ? home.intensity : exactly(inputs.intensity);
    const energy = home.power && scaled(product(time, home.power, pue), 1 / J_PER_KWH);
    return {
      time,
      energy,
      cost: home.rent !== null ? scaled(time, home.rent / S_PER_H) : energy && price && product(energy, price),
      co2: energy && intensity && product(energy, intensity),
    };
  }

  function estimateOffer(row, home, price, inputs) {
    const count = row.counts.find((each) => each.used === inputs.used);
    const parts = trainingParts(count, inputs.shares);
    const point = Math.exp(normal.logPoint(parts));
    const [low, high] = [0.025, 0.975].map((probability) => Math.exp(normal.logQuantile(parts, probability)));
    const share = { point, low: Math.min(low, point), high: Math.max(high, point) };
    const time = times(home.time, share);
    const rate = count.kwh_per_s;
    const energy = rate && times(time, fromSides(rate.point, rate.below, rate.above));
    const hourly = price === null ? null : price * count.rented;
    const started = normal.shifted(parts, inputs.start / home.time.point);
    return {
      ratio: { point: 1 / share.point, low: 1 / share.high, high: 1 / share.low }, rented: count.rented, used: count.used, time, energy, hourly,
      cost: hourly === null ? null : scaled(shifted(time, inputs.start), hourly / S_PER_H),
      co2: energy && row.intensity ? times(energy, row.intensity) : null,
      pCheaper: chanceOfLess(hourly, home, started),
    };
  }

  // What an offer is called, as words.plain_text.gpus_label says it.
  function nameOf(row, rented, used) {
    const count = rented > 1 ? ` x${rented}` : "";
    const atWork = used === 1 ? "" : used === rented ? ", all at work" : `, ${used} at work`;
    const billing = ["on-demand", "contact-sales"].includes(row.billing) ? "" : ` (${row.billing})`;
    return `${row.gpu}${count}${atWork}${billing}`;
  }

  // The options than which no other finishes sooner, the start of its instance included, for less.
  function markFront(options, start) {
    const end = (option) => option.time.point + (option.isHome ? 0 : start);
    const priced = options.filter((option) => option.cost && option.fits !== false);
    for (const option of options) {
      option.onFront = priced.includes(option) && !priced.some((other) => (
        end(other) <= end(option) && other.cost.point <= option.cost.point
        && (end(other) !== end(option) || other.cost.point !== option.cost.point)));
    }
  }

  // Home first, then every offer, as the reader's inputs would have them.
  function estimate(facts, inputs) {
    const home = { key: "home", name: facts.home.name, isHome: true, ...estimateHome(facts.home, inputs) };
    const isOwn = inputs.version === facts.version;
    const sheet = isOwn ? undefined : facts.sheets.find((each) => each.version === inputs.version);
    const plan = { ...facts.home.plan, epoch_count: inputs.epochs, sample_count: inputs.samples };
    const asked = { used: inputs.gpus, start: facts.start_s, shares: timeShares(facts.home.fit, plan) };
    const offers = facts.rows.map((row) => {
      const price = sheet ? sheet.prices[row.price_key] ?? null : row.price;
      const figures = estimateOffer(row, home, price, asked);
      return {
        ...row, ...figures, price, claim: row.claim, name: nameOf(row, figures.rented, figures.used),
        asOf: sheet ? sheet.as_of : row.as_of,
      };
    });
    const options = [home, ...offers];
    markFront(options, asked.start);
    return options;
  }

  return { estimate, predictTime };
})();
