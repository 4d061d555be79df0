// Tabs: the one that is open stands in the address, so that a link, a reload and Back find it.
"use strict";

class TabsInAddress {
  // `names` are those of the tabs in their order; the first needs no mark.
  constructor(names) {
    this.names = names;
    document.addEventListener("click", (event) => {
      const tab = event.target.closest?.("#page-tabs > .tab-wrapper button[role=tab]");
      if (tab) this.mark(this.buttons.indexOf(tab));
    });
    window.addEventListener("hashchange", () => this.follow());
    this.begin();
  }

  get buttons() {
    return [...document.querySelectorAll("#page-tabs > .tab-wrapper .tab-container[role=tablist] > button[role=tab]")];
  }

  // The page draws its tabs after this part.
  begin() {
    if (this.buttons.length < this.names.length) return void setTimeout(() => this.begin(), 100);
    if (this.wanted > 0) this.follow();
  }

  get wanted() {
    return this.names.indexOf(location.hash.slice(1));
  }

  mark(at) {
    if (at < 0 || at === Math.max(0, this.wanted)) return;
    const { pathname, search } = location;
    history.pushState(null, "", at > 0 ? `#${this.names[at]}` : `${pathname}${search}`);
  }

  follow() {
    const button = this.buttons[Math.max(0, this.wanted)];
    if (button?.ariaSelected !== "true") button?.click();
  }
}
