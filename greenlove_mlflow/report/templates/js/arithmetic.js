// Uncertain values, as greenlove_mlflow.core.interval combines them: exact factors move all three numbers, independent
// uncertain ones add their widths in quadrature on the log scale. A test compares page and library.
const arithmetic = (() => {
  const NORMAL_QUANTILE_95 = 1.959963984540054;

  const exactly = (value) => ({ point: value, low: value, high: value });
  const scaled = (value, factor) => ({
    point: value.point * factor, low: value.low * factor, high: value.high * factor,
  });
  const shifted = (value, offset) => ({
    point: value.point + offset, low: value.low + offset, high: value.high + offset,
  });
  const fromWidth = (point, width) => ({ point, low: point / Math.exp(width), high: point * Math.exp(width) });
  const width = (value) => (value.low === value.high ? 0 : (Math.log(value.high) - Math.log(value.low)) / 2);

  function product(...factors) {
    const uncertain = factors.filter((factor) => factor.low !== factor.high);
    const point = factors.reduce((all, factor) => all * factor.point, 1);
    if (!uncertain.length || point === 0) return exactly(point);
    const side = (log) => Math.sqrt(uncertain.reduce((sum, factor) => sum + log(factor) ** 2, 0));
    const below = side((factor) => (factor.low ? Math.log(factor.point / factor.low) : Infinity));
    const above = side((factor) => Math.log(factor.high / factor.point));
    return { point, low: point * Math.exp(-below), high: point * Math.exp(above) };
  }

  // The complementary error function, to 1.2e-7. Source: Press et al., Numerical Recipes, section 6.2.
  function erfc(x) {
    const z = Math.abs(x);
    const t = 1 / (1 + 0.5 * z);
    const terms = [-1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398, 1.48851587,
      -0.82215223, 0.17087277];
    const series = terms.reduceRight((sum, term) => term + t * sum, 0);
    const value = t * Math.exp(-z * z + series);
    return x >= 0 ? value : 2 - value;
  }

  function probabilityLess(logDifference, logSd) {
    if (logSd <= 0) return logDifference === 0 ? 0.5 : Number(logDifference > 0);
    return 1 - 0.5 * erfc(logDifference / logSd / Math.SQRT2);
  }

  // The probability that an offer's figure is less than home's; home's time is in both and cancels.
  function probabilityOfLess(offer, home, homeTime) {
    if (!offer || !home || Math.min(offer.point, home.point) <= 0) return null;
    const difference = Math.log(home.point / offer.point);
    const side = difference > 0 ? Math.log(offer.high / offer.point) : Math.log(offer.point / offer.low);
    const shared = width(homeTime) ** 2;
    const offerSide = Math.sqrt(Math.max(0, side ** 2 - shared));
    const homeSide = Math.sqrt(Math.max(0, width(home) ** 2 - shared));
    return probabilityLess(difference, Math.hypot(offerSide, homeSide) / NORMAL_QUANTILE_95);
  }

  return { exactly, scaled, shifted, fromWidth, width, product, probabilityOfLess };
})();
