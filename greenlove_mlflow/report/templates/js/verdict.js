// The sentences of the verdict, as greenlove_mlflow.report.verdict writes them.
const verdict = (() => {
  function homeSentence(home) {
    const parts = [format.duration(home.time)];
    if (home.energy) parts.push(format.kwh(home.energy, "", false));
    if (home.cost) parts.push(format.usd(home.cost, "", false));
    if (home.co2) parts.push(`${format.co2(home.co2, "", false)} CO2e`);
    const unknown = home.energy ? "" : " Its power was not measured, so energy, cost and CO2e are unknown.";
    return `Training here takes ${parts.join(", ")}.${unknown}`;
  }

  function offerSentence(row) {
    const duration = format.isExact(row.time) ? format.durationPoint(row.time) : format.durationRange(row.time);
    const rent = row.cost ? ` for ${format.usdScale().pointOrRange(row.cost)}` : "";
    const odds = row.pCheaper === null ? ""
      : `; the chance that it is cheaper than here is ${format.probability(row.pCheaper)}`;
    return `${row.name} at ${row.provider} would take ${duration}${rent}${odds}.`;
  }

  // The priced offer with the least cost times time whose memory fits.
  function worthNaming(offers) {
    const worth = (row) => row.cost.point * row.time.point;
    const priced = offers.filter((row) => row.cost && row.fits !== false);
    return priced.reduce((best, row) => (best && worth(best) <= worth(row) ? best : row), null);
  }

  function sentences(options) {
    const [home, ...offers] = options;
    const named = worthNaming(offers);
    return [homeSentence(home), ...(named ? [offerSentence(named)] : [])];
  }

  return { sentences };
})();
