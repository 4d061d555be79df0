// Words: fills in the phrases of words.toml on a page.
"use strict";

// A phrase with its {braces} filled in.
function filled(phrase, values) {
  return phrase.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

// The form of a phrase, `one` or `other`, that goes with a number.
function counted(forms, n) {
  return filled(n === 1 ? forms.one : forms.other, { n });
}

// A phrase as a part of HTML.
function escaped(phrase) {
  return phrase.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
}
