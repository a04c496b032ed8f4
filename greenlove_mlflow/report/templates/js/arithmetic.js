// Uncertain values, as greenlove_mlflow.core.interval combines them: exact factors move all three numbers, independent
// uncertain ones add their widths in quadrature on the log scale. A test compares page and library.
const arithmetic = (() => {
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

  // Widths of the two sides on the log scale; an end at 0 is as wide as a range gets.
  const below = (value) => (value.low === value.point ? 0 : Math.log(value.point / value.low));
  const above = (value) => (value.high === value.point ? 0 : Math.log(value.high / value.point));
  const fromSides = (point, under, over) => (
    { point, low: point * Math.exp(-under), high: point * Math.exp(over) });
  // Independent uncertain factors, each side for itself.
  const times = (one, other) => fromSides(
    one.point * other.point, Math.hypot(below(one), below(other)), Math.hypot(above(one), above(other)));

  return { exactly, scaled, shifted, fromWidth, width, product, below, above, fromSides, times };
})();
