"use strict";

// Search: every word must occur in a card's name, aliases, family or description.
const search = document.getElementById("search");
const cards = [...document.querySelectorAll(".cards li")];
const plain = (text) => text.toLowerCase().replaceAll(/[_-]/g, "");

function find() {
  const words = plain(search.value).split(/\s+/).filter(Boolean);
  let count = 0;
  for (const card of cards) {
    const shown = words.every((word) => plain(card.dataset.words).includes(word));
    card.hidden = !shown;
    count += shown;
  }
  for (const family of document.querySelectorAll(".family")) family.hidden = !family.querySelector("li:not([hidden])");
  document.getElementById("found").textContent = words.length ? `${count} found` : "";
}

search.addEventListener("input", find);
search.addEventListener("keydown", (event) => {
  const first = cards.find((card) => !card.hidden);
  if (event.key === "Enter" && first) location.href = first.querySelector("a").href;
});
find();
