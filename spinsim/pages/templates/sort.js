// Clicking a column's head sorts its table: numbers with the largest first, names from A. Again turns it round.
(() => {
  const UNITS = { us: 1e-6, ms: 1e-3, s: 1 };
  const value = (text) => {
    const found = text.replace(/,/g, "").match(/^\s*([+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*([^\d\s]*)/i);
    return found ? parseFloat(found[1]) * (UNITS[found[2]] ?? 1) : null;
  };
  const text = (row, column) => row.cells[column]?.textContent.trim() ?? ""; // a cell may span others
  document.querySelectorAll("table.sorts").forEach((table) => {
    const body = table.tBodies[0];
    const rows = [...body.rows];
    if (rows.length < 2) return;
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      if (!head.textContent.trim()) return;
      const numbers = rows.some((row) => value(text(row, column)) !== null);
      const sort = () => {
        const up = head.ariaSort === "descending" || (head.ariaSort === null && !numbers);
        [...table.tHead.rows[0].cells].forEach((other) => other.removeAttribute("aria-sort"));
        head.ariaSort = up ? "ascending" : "descending";
        rows.sort((a, b) => {
          const [left, right] = [value(text(a, column)), value(text(b, column))];
          if (left === null && right === null) {
            return (up ? 1 : -1) * text(a, column).localeCompare(text(b, column), undefined, { numeric: true });
          }
          if (left === null || right === null) return left === null ? 1 : -1; // what has no value stays below
          return (up ? 1 : -1) * (left - right);
        });
        body.append(...rows);
      };
      head.tabIndex = 0;
      head.classList.add("sortable");
      head.addEventListener("click", sort);
      head.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") {
          event.preventDefault();
          sort();
        }
      });
    });
  });
})();
