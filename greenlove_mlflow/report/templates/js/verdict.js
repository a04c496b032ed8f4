// The sentences of the verdict, as greenlove_mlflow.words.verdict writes them.
const verdict = (() => {
  function homeSentence(home) {
    const parts = [format.duration(home.time)];
    if (home.energy) parts.push(format.kwh(home.energy, "", false));
    if (home.cost) parts.push(format.money(home.cost, "", false));
    if (home.co2) parts.push(`${format.co2(home.co2, "", false)} CO2e`);
    const unknown = home.energy ? "" : " Its power was not measured, so energy, cost and CO2e are unknown.";
    return `Training here takes ${parts.join(", ")}.${unknown}`;
  }

  function offerSentence(row, start) {
    const time = arithmetic.shifted(row.time, start);
    const duration = format.isExact(time) ? format.durationPoint(time) : format.durationRange(time);
    const rent = row.cost ? ` for ${format.usdScale().pointOrRange(row.cost)}` : "";
    const odds = row.pCheaper === null ? ""
      : `; the chance that it is cheaper than here is ${format.probability(row.pCheaper)}`;
    return `${row.name} at ${row.provider} would take ${duration}${rent}${odds}.`;
  }

  const tooSmallSentence = (start) => (
    `It is too small to rent a GPU for: starting an instance alone takes about ${format.about(start)}.`);

  // The priced offer with the least cost times time, the start of its instance included, whose memory fits.
  function worthNaming(offers, start) {
    const worth = (row) => row.cost.point * (row.time.point + start);
    const priced = offers.filter((row) => row.cost && row.fits !== false);
    return priced.reduce((best, row) => (best && worth(best) <= worth(row) ? best : row), null);
  }

  const isTooSmall = ([home, ...offers], start) => offers.length > 0 && home.time.point < start;

  // Home and the offers, and the seconds that an instance needs to start.
  function sentences(options, start = 0) {
    const [home, ...offers] = options;
    if (isTooSmall(options, start)) {
      return [homeSentence(home), tooSmallSentence(arithmetic.exactly(start))];
    }
    const named = worthNaming(offers, start);
    return [homeSentence(home), ...(named ? [offerSentence(named, start)] : [])];
  }

  return { sentences, isTooSmall };
})();
