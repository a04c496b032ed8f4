// The normal distribution and the longest of several uncertain durations, as greenlove_mlflow.core.normal computes
// them: the same coefficients, the same number of iterations, the same nodes. A test compares page and library.
const normal = (() => {
  const QUANTILE_95 = 1.959963984540054;
  const NUMERATOR = [3.52624965998911e-2, 0.700383064443688, 6.37396220353165, 33.912866078383, 112.079291497871,
    221.213596169931, 220.206867912376];
  const DENOMINATOR = [8.83883476483184e-2, 1.75566716318264, 16.064177579207, 86.7807322029461, 296.564248779674,
    637.333633378831, 793.826512519948, 440.413735824752];
  const FAR = 7.07106781186547;
  const FARTHEST = 37;
  const SQRT_2_PI = 2.5066282746310002;
  const NEWTON_STEPS = 8;
  const NODES = Array.from({ length: 49 }, (_, index) => -6 + index * 0.25);
  const heights = NODES.map((node) => Math.exp((-node * node) / 2));
  const WEIGHTS = heights.map((height) => height / heights.reduce((sum, each) => sum + each, 0));

  const horner = (coefficients, x) => coefficients.reduce((value, coefficient) => value * x + coefficient);
  const density = (z) => Math.exp((-z * z) / 2) / SQRT_2_PI;

  function cdf(z) {
    const distance = Math.min(Math.abs(z), FARTHEST);
    const tail = Math.exp((-distance * distance) / 2);
    let upper;
    if (distance < FAR) {
      upper = (tail * horner(NUMERATOR, distance)) / horner(DENOMINATOR, distance);
    } else {
      const fraction = [4, 3, 2, 1].reduce((value, numerator) => distance + numerator / value, distance + 0.65);
      upper = tail / fraction / SQRT_2_PI;
    }
    return z > 0 ? 1 - upper : upper;
  }

  // Parts are { log_point, log_sd, widens }: one that only widens the range has no say in the point.
  const logPoint = (parts) => Math.max(...parts.filter((part) => !part.widens).map((part) => part.log_point));

  function logQuantile(parts, probability) {
    const z = probability < 0.5 ? -QUANTILE_95 : QUANTILE_95;
    const start = Math.max(...parts.map((part) => part.log_point + part.log_sd * z));
    const uncertain = parts.filter((part) => part.log_sd > 0);
    if (uncertain.length < 2) return start;
    let value = start;
    for (let step = 0; step < NEWTON_STEPS; step += 1) {
      let logCdf = 0;
      let slope = 0;
      for (const part of uncertain) {
        const at = Math.min(FARTHEST, Math.max(-FARTHEST, (value - part.log_point) / part.log_sd));
        const below = cdf(at);
        logCdf += Math.log(below);
        slope += density(at) / (below * part.log_sd);
      }
      value = Math.max(start, value - (slope > 0 ? (logCdf - Math.log(probability)) / slope : 0));
    }
    return value;
  }

  function partBelow(part, logValue) {
    const distance = logValue - part.log_point;
    if (part.log_sd > 0) return cdf(distance / part.log_sd);
    return distance === 0 ? 0.5 : Number(distance > 0);
  }

  const probabilityBelow = (parts, logValue) => parts.reduce((all, part) => all * partBelow(part, logValue), 1);

  // The same against a lognormal value, with one SD below its median and another above.
  function probabilityBelowUncertain(parts, logValue, sdBelow, sdAbove) {
    if (Math.max(sdBelow, sdAbove) <= 0) return probabilityBelow(parts, logValue);
    return NODES.reduce((sum, node, index) => (
      sum + WEIGHTS[index] * probabilityBelow(parts, logValue + (node < 0 ? sdBelow : sdAbove) * node)), 0);
  }

  // The longest plus an exact duration of at least 0.
  function shifted(parts, offset) {
    if (offset === 0) return parts;
    return parts.map((part) => {
      const point = Math.exp(part.log_point);
      return { ...part, log_point: Math.log(point + offset), log_sd: (part.log_sd * point) / (point + offset) };
    });
  }

  return { cdf, logPoint, logQuantile, probabilityBelow, probabilityBelowUncertain, shifted, QUANTILE_95 };
})();
