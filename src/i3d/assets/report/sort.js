// Tables whose rows can be sorted by a click on the head of a column. Rows without a value stay last.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
    const order = column === 0 ? (a, b) => a.localeCompare(b) : (a, b) => a - b;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent.trim();
    button.addEventListener("click", () => {
      const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      const rows = [...body.rows].sort((one, other) => {
        const [a, b] = [value(one), value(other)];
        return a === "" || b === "" ? (a === "") - (b === "") : sign * order(a, b);
      });
      body.append(...rows);
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
    });
    head.replaceChildren(button);
  });
}
