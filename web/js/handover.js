// A receipt that a page of this tab hands to the page that verifies, which the tab opens next.

const KEY = "lottery.receipt";

export const handReceipt = (file) => sessionStorage.setItem(KEY, JSON.stringify(file));

/** The text of the receipt. It is taken once. */
export function takeReceipt() {
  const text = sessionStorage.getItem(KEY);
  sessionStorage.removeItem(KEY);
  return text;
}
