// Tables that are sorted by a click on the head of a column, and filtered by a name.
function setUpTables() {
  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    table.querySelectorAll("thead th").forEach((head, column) => {
      const button = head.querySelector("button");
      button?.addEventListener("click", () => {
        const ascending = head.getAttribute("aria-sort") !== "ascending";
        table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
        sortRows(body, column, ascending);
      });
    });
  }
  for (const search of document.querySelectorAll("input[data-filters]")) {
    search.addEventListener("input", () => {
      const sought = search.value.trim().toLowerCase();
      for (const row of $(search.dataset.filters).tBodies[0].rows) {
        row.hidden = !row.cells[0].textContent.toLowerCase().includes(sought);
      }
    });
  }
}

// Numbers are sorted as numbers; a cell without a value stands last in both directions.
function sortRows(body, column, ascending) {
  const keyOf = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
  const numeric = [...body.rows].every((row) => keyOf(row) === "" || !Number.isNaN(Number(keyOf(row))));
  const collator = new Intl.Collator(undefined, { numeric: true });
  const sorted = [...body.rows].map((row) => [keyOf(row), row]).sort(([a], [b]) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    const order = numeric ? Number(a) - Number(b) : collator.compare(a, b);
    return ascending ? order : -order;
  });
  body.append(...sorted.map(([, row]) => row));
}
setUpTables();
