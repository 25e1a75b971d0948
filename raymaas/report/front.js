"use strict";
(() => {
  const details = document.getElementById("details");
  const heads = [...document.querySelectorAll("thead th")];
  const body = document.querySelector("tbody");
  const rows = new Map([...body.rows].map((row) => [row.dataset.trial, row]));
  const shown = [...document.querySelectorAll("[data-trial]")];
  let pinned = null;

  function show(trial) {
    for (const element of shown) element.classList.toggle("lit", element.dataset.trial === trial);
    details.replaceChildren();
    details.hidden = trial === null;
    if (trial === null) return;
    const list = details.appendChild(document.createElement("dl"));
    [...rows.get(trial).cells].forEach((cell, place) => {
      if (!cell.textContent) return;
      list.appendChild(document.createElement("dt")).textContent = heads[place].textContent;
      list.appendChild(document.createElement("dd")).textContent = cell.textContent;
    });
  }

  function pin(trial) {
    pinned = pinned === trial ? null : trial;
    show(pinned);
  }

  for (const element of shown) {
    const trial = element.dataset.trial;
    element.addEventListener("mouseenter", () => show(trial));
    element.addEventListener("mouseleave", () => show(pinned));
    element.addEventListener("focus", () => show(trial));
    element.addEventListener("click", () => pin(trial));
    element.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        pin(trial);
      }
    });
  }

  const key = (row, place) => {
    const cell = row.cells[place];
    return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
  };
  heads.forEach((head, place) => {
    let down = false;
    head.classList.add("sortable");
    head.addEventListener("click", () => {
      const order = [...body.rows].sort((one, other) => {
        const [a, b] = [key(one, place), key(other, place)];
        if (a === "" || b === "") return (a === "") - (b === "");
        return (a < b ? -1 : a > b ? 1 : 0) * (down ? -1 : 1);
      });
      down = !down;
      body.replaceChildren(...order);
    });
  });
})();
