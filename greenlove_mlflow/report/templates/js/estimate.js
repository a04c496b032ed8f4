// The estimate made again in the page, by the formulas of greenlove_mlflow.core: scaling.predict_time_s,
// statistics.estimate_for_time, pricing.offer_figures and compare. A test compares page and library.
const estimating = (() => {
  const { exactly, scaled, shifted, fromWidth, width, product, probabilityOfLess } = arithmetic;
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

  function predictSeed(fit, plan, scale) {
    const warmUp = fit.seed_warm_up_s.slice(0, plan.epoch_count);
    const sum = warmUp.reduce((all, value) => all + value, 0);
    const point = (sum + (plan.epoch_count - warmUp.length) * fit.epoch_s) * scale;
    const half = fit.normal_quantile * Math.sqrt(plan.epoch_count) * fit.seed_sigma_s * scale;
    return { point, low: Math.max(0, point - half), high: point + half };
  }

  function predictTime(fit, plan) {
    const scale = plan.sample_count / fit.sample_count;
    const validations = Math.floor(plan.epoch_count / plan.validation_every_epochs) * plan.validation_s;
    const given = plan.one_off_s + plan.epoch_count * plan.extra_per_epoch_s;
    if (fit.method === "seed") return shifted(predictSeed(fit, plan, scale), given + validations);
    const grown = (seconds) => (seconds - fit.overhead_s) * scale + fit.overhead_s;
    const rate = grown(fit.first_epoch_s) + (plan.epoch_count - 1) * grown(fit.epoch_s) + validations;
    const half = fit.conformal_log_half_width || fit.t_quantile * rateLogSd(fit, rate);
    const running = fromWidth(rate * Math.exp(fit.bias_log), half);
    const whole = fit.one_off_s > 0
      ? total(running, fromWidth(fit.one_off_s, fit.one_off_log_half_width)) : running;
    return shifted(whole, given);
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
      cost: energy && price && product(energy, price),
      co2: energy && intensity && product(energy, intensity),
    };
  }

  // A rate that multiplies the offer's time: its point and its width on the log scale.
  const times = (time, rate) => fromWidth(time.point * rate.point, Math.hypot(width(time), rate.width));

  function estimateOffer(row, homeTime, price, count) {
    const ratio = row.ratios.find((each) => each.gpus === count);
    const time = fromWidth(homeTime.point / ratio.point, Math.hypot(width(homeTime), ratio.width));
    const rate = row.kwh_per_s && { ...row.kwh_per_s, point: (row.kwh_per_s.point * count) / row.gpu_count };
    const energy = rate && times(time, rate);
    let co2 = null;
    if (energy && row.intensity) {
      const grams = energy.point * row.intensity.point;
      const below = Math.hypot(width(energy), Math.log(row.intensity.point / row.intensity.low));
      const above = Math.hypot(width(energy), Math.log(row.intensity.high / row.intensity.point));
      co2 = { point: grams, low: grams * Math.exp(-below), high: grams * Math.exp(above) };
    }
    return { ratio, time, energy, cost: price === null ? null : scaled(time, (price * count) / S_PER_H), co2 };
  }

  const nameOf = (row, count) => (count === row.gpu_count ? row.name : `${count} x ${row.gpu}`);

  function markFront(options) {
    const priced = options.filter((option) => option.cost && option.fits !== false);
    for (const option of options) {
      option.onFront = priced.includes(option) && !priced.some((other) => (
        other.time.point <= option.time.point && other.cost.point <= option.cost.point
        && (other.time.point !== option.time.point || other.cost.point !== option.cost.point)));
    }
  }

  // Home first, then every offer, as the reader's inputs would have them.
  function estimate(facts, inputs) {
    const home = { key: "home", name: facts.home.name, isHome: true, ...estimateHome(facts.home, inputs) };
    const isOwn = inputs.version === facts.version;
    const sheet = isOwn ? undefined : facts.sheets.find((each) => each.version === inputs.version);
    const offers = facts.rows.map((row) => {
      const price = sheet ? sheet.prices[row.price_key] ?? null : row.price;
      const figures = estimateOffer(row, home.time, price, inputs.gpus);
      return {
        ...row, ...figures, price, claim: row.claim, name: nameOf(row, inputs.gpus),
        asOf: sheet ? sheet.as_of : row.as_of,
        pCheaper: probabilityOfLess(figures.cost, home.cost, home.time),
      };
    });
    const options = [home, ...offers];
    markFront(options);
    return options;
  }

  return { estimate, predictTime };
})();
