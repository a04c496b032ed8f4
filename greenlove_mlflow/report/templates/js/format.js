// Numbers as text, digit for digit as greenlove_mlflow.formatting writes them; a test compares the two.
const format = (() => {
  const KWH = [["mWh", 1e6], ["Wh", 1e3], ["kWh", 1], ["MWh", 1e-3]];
  const CO2 = [["mg", 1e3], ["g", 1], ["kg", 1e-3], ["t", 1e-6]];
  const TIME = [["ms", 1e3], ["s", 1], ["min", 1 / 60], ["h", 1 / 3600]];
  const STEPS = [1, 5, 10, 30, 60, 300, 600, 1800, 3600, 21600, 86400];
  const MINUTE = 60;
  const LEAST_USD = 0.01;

  const exponent = (value) => Math.floor(Math.log10(Math.abs(value)));
  const isNumber = (value) => typeof value === "number";
  const isExact = (value) => value.low === value.high;

  // Python rounds ties to even, toFixed rounds them away from zero.
  function halfEven(scaled) {
    const below = Math.floor(scaled);
    const rest = scaled - below;
    if (rest !== 0.5) return Math.round(scaled);
    return below % 2 === 0 ? below : below + 1;
  }

  function fixed(value, decimals) {
    const places = Math.max(0, decimals);
    let text;
    if (decimals < 0) {
      const unit = 10 ** -decimals;
      text = (halfEven(value / unit) * unit).toFixed(0);
    } else if (Number.isInteger(value * 2 ** (decimals + 1))) {
      text = (halfEven(value * 10 ** decimals) / 10 ** decimals).toFixed(places);
    } else {
      text = value.toFixed(places);
    }
    const [whole, part] = text.split(".");
    const grouped = whole.replace(/\B(?=(\d{3})+(?!\d))/g, ",");
    return part === undefined ? grouped : `${grouped}.${part}`;
  }

  function decimalsFor(value, point, half, fewest) {
    if (value === 0) return 0;
    const size = point ? exponent(point) : 0;
    let decimals = 2 - size;
    if (half > 0) {
      const first = exponent(half);
      const wanted = -first + (half < 2 * 10 ** first ? 1 : 0);
      decimals = Math.min(Math.max(wanted, 1 - size), 3 - size);
    }
    const own = exponent(value);
    decimals = Math.max(Math.min(decimals, 2 - own), -own);
    return fewest === 0 ? decimals : moneyDecimals(Math.abs(value), decimals, fewest, half === 0);
  }

  function moneyDecimals(amount, decimals, fewest, lone) {
    if (amount >= 10 ** -fewest * 10) {
      const exact = lone && amount < 10 ** (fewest + 1);
      return decimals > 0 || exact ? fewest : decimals;
    }
    return lone ? Math.min(decimals, 1 - exponent(amount)) : decimals;
  }

  class Scale {
    constructor(unit, factor = 1, prefix = "", fewest = 0) {
      Object.assign(this, { unit, factor, prefix, fewest });
    }
    number(value, like) {
      const scaled = value * this.factor;
      const [point, half] = like
        ? [like.point * this.factor, ((like.high - like.low) / 2) * this.factor]
        : [scaled, 0];
      return this.prefix + fixed(scaled, decimalsFor(scaled, point, half, this.fewest));
    }
    text(value) { return `${this.number(value)} ${this.unit}`.trimEnd(); }
    range(value) { return `${this.number(value.low, value)} to ${this.number(value.high, value)} ${this.unit}`.trimEnd(); }
    point(value) {
      return isExact(value) ? this.text(value.point) : `${this.number(value.point, value)} ${this.unit}`.trimEnd();
    }
    pointOrRange(value) { return isExact(value) ? this.text(value.point) : this.range(value); }
    withRange(value) { return isExact(value) ? this.text(value.point) : `${this.point(value)} (${this.range(value)})`; }
    bare() { return new Scale("", this.factor, this.prefix, this.fewest); }
  }

  const points = (values) => values
    .filter((value) => value !== null && value !== undefined)
    .map((value) => Math.abs(isNumber(value) ? value : value.point))
    .filter((value) => value && Number.isFinite(value));

  function scaleFor(values, units, share, usual) {
    const known = points(values);
    if (!known.length) return new Scale(...units[usual]);
    const typical = Math.sqrt(Math.min(...known) * Math.max(...known));
    const fitting = units.filter(([, factor]) => typical * factor >= share);
    return new Scale(...(fitting.length ? fitting[fitting.length - 1] : units[0]));
  }

  const USD = new Scale("", 1, "$", 2);
  const ranged = (value, scale, missing, withRange = true) => {
    if (value === null || value === undefined) return missing;
    if (isNumber(value)) return scale.text(value);
    return withRange ? scale.withRange(value) : scale.point(value);
  };

  // An amount to be paid: below one cent it decides nothing.
  function money(value, missing = "unknown", withRange = true) {
    const below = "under 1 cent";
    if (value === null || value === undefined) return missing;
    if (isNumber(value)) return value > 0 && value < LEAST_USD ? below : USD.text(value);
    if (value.low >= LEAST_USD || value.high === 0) return ranged(value, USD, missing, withRange);
    if (value.high < LEAST_USD) return below;
    const point = value.point < LEAST_USD ? below : USD.point(value);
    if (!withRange) return point;
    const high = USD.text(value.high);
    return value.point < LEAST_USD ? `${point} (up to ${high})` : `${point} (${below} to ${high})`;
  }

  // Round numbers for a logarithmic axis, as dense as `most` of them allow.
  function roundTicks(low, high, most) {
    if (!(low > 0 && low <= high)) return [];
    const decades = [];
    for (let at = Math.floor(Math.log10(low)); at <= Math.ceil(Math.log10(high)); at += 1) decades.push(at);
    let ticks = [];
    for (const leads of [[1, 2, 3, 5, 7], [1, 2, 5], [1, 3], [1]]) {
      ticks = decades.flatMap((decade) => leads.map((lead) => Number(`${lead}e${decade}`)));
      ticks = ticks.filter((tick) => low <= tick && tick <= high);
      if (ticks.length <= most) return ticks;
    }
    const stride = Math.ceil(ticks.length / most);
    return ticks.filter((_, index) => index % stride === 0);
  }

  const moneyTicks = (low, high) => roundTicks(Math.max(low, LEAST_USD), high, 3);

  function significant(value, digits = 2) {
    return value === 0 ? "0" : fixed(value, digits - 1 - exponent(value));
  }

  function stepFor(value, half, of) {
    let finest = value / 200;
    if (half > 0) finest = Math.max(finest, Math.min(half / 3, of / 20));
    return Math.max(1, ...STEPS.filter((step) => step <= finest));
  }

  function seconds(value) {
    if (value <= 0) return "0 s";
    if (value < 0.1) return `${significant(value * 1e3)} ms`;
    return `${significant(value, value >= 10 ? 3 : 2)} s`;
  }

  function spoken(value, step) {
    const rounded = halfEven(value / step) * step;
    if (rounded < MINUTE && value < MINUTE) return step > 1 && rounded ? `${rounded} s` : seconds(value);
    for (const [unit, small, name, smallName] of [[86400, 3600, "d", "h"], [3600, 60, "h", "min"], [60, 1, "min", "s"]]) {
      if (rounded < unit) continue;
      let units = Math.floor(rounded / unit);
      let smaller = halfEven((rounded - units * unit) / small);
      if (smaller * small >= unit) { units += 1; smaller = 0; }
      return `${fixed(units, 0)} ${name}${smaller ? ` ${smaller} ${smallName}` : ""}`;
    }
    return `${fixed(rounded, 0)} s`;
  }

  // After "about", a tenth is fine enough.
  const about = (value) => spoken(value, Math.max(1, ...STEPS.filter((step) => step <= value / 10)));

  const isShort = (value) => value.point < MINUTE && value.high < 2 * MINUTE;
  const shortScale = (value) => (value.point >= 0.1 ? new Scale("s") : new Scale("ms", 1e3));

  function durationPoint(value) {
    if (isNumber(value)) return spoken(value, stepFor(value, 0));
    if (isExact(value)) return spoken(value.point, stepFor(value.point, 0));
    if (isShort(value)) return shortScale(value).point(value);
    return spoken(value.point, stepFor(value.point, (value.high - value.low) / 2, value.point));
  }

  function durationRange(value) {
    if (isShort(value)) return shortScale(value).range(value);
    const half = (value.high - value.low) / 2;
    const [low, high] = [value.low, value.high].map((end) => spoken(end, stepFor(end, half, value.point)));
    const [lowWords, highWords] = [low.split(" "), high.split(" ")];
    const same = lowWords.length === 2 && highWords.length === 2 && lowWords[1] === highWords[1];
    return `${same ? lowWords[0] : low} to ${high}`;
  }

  function probability(value, missing = "unknown") {
    if (value === null || value === undefined) return missing;
    if (value < 0.005) return "under 1%";
    if (value > 0.995) return "over 99%";
    return `${Math.max(1, Math.min(99, halfEven(value * 100)))}%`;
  }

  // A number stays on one line with its unit.
  const UNIT = /(?<=\d) (?=(?:d|h|min|s|ms|m?Wh|kWh|MWh|mg|g|kg|t|W|kW)\b|%)|(?<=\d [dh]) (?=\d)/g;
  const together = (text) => text.replace(UNIT, "\u00a0");

  return {
    Scale,
    together,
    usdScale: () => USD,
    durationScale: (values) => scaleFor(values, TIME, 1, 1),
    energyScale: (values) => scaleFor(values, KWH, 1, 2),
    co2Scale: (values) => scaleFor(values, CO2, 1, 1),
    interval: (value, scale, missing = "unknown") => ranged(value, scale, missing),
    usd: (value, missing = "unknown", withRange = true) => ranged(value, USD, missing, withRange),
    money,
    moneyTicks,
    about,
    kwh: (value, missing = "not measured", withRange = true) =>
      ranged(value, scaleFor([value], KWH, 0.5, 2), missing, withRange),
    co2: (value, missing = "unknown", withRange = true) =>
      ranged(value, scaleFor([value], CO2, 0.5, 1), missing, withRange),
    duration: (value) =>
      isNumber(value) || isExact(value) ? durationPoint(value) : `${durationPoint(value)} (${durationRange(value)})`,
    durationPoint,
    durationRange,
    probability,
    significant,
    count: (value) => fixed(value, 0),
    isExact,
  };
})();
