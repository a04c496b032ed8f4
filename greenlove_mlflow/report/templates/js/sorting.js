// Tables sorted by a click on a column's head: a line carries the plain value of each column as data.
const sorting = (() => {
  const value = (line, key) => {
    const text = line.dataset[key];
    if (text === undefined || text === "") return null;
    const number = Number(text);
    return Number.isNaN(number) ? text.toLowerCase() : number;
  };

  const headsOf = (table) => [...table.tHead.rows[0].cells];

  // Unknown values go last, whichever way the table is sorted.
  function sort(table, key, descending) {
    const body = table.tBodies[0];
    const turn = descending ? -1 : 1;
    const lines = [...body.rows].sort((one, other) => {
      const [a, b] = [value(one, key), value(other, key)];
      if (a === null || b === null) return (a === null) - (b === null);
      return (a < b ? -1 : a > b ? 1 : 0) * turn;
    });
    body.append(...lines);
    for (const head of headsOf(table)) {
      if (head.dataset.key === key) head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
  }

  function wire(table, sorted = () => {}) {
    for (const head of headsOf(table)) {
      head.querySelector("button")?.addEventListener("click", () => {
        sort(table, head.dataset.key, head.getAttribute("aria-sort") === "ascending");
        sorted(head.dataset.key);
      });
    }
  }

  return { sort, wire };
})();
