// A whole game by clicks, as a newcomer plays it: from the open page to the prize and its verification.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { MINI, PASSWORD, PHONE, World } from "./world.mjs";

let world;
before(async () => (world = await World.start(MINI)));
after(() => world?.stop());

test("a newcomer with a phone plays, wins and verifies the draw", async () => {
  const draw = await world.openDraw({ lottery: "mini" });
  const tab = await world.visit("/", { viewport: PHONE });

  // Two tickets of which one wins, whatever is drawn.
  for (const numbers of [["1", "2"], ["3", "4"]]) {
    for (const number of numbers) await tab.click("button", number);
    await tab.click("button", "Add this ticket");
  }
  await tab.see("₽200");
  await tab.click("button", "Buy");
  // Each step says what comes next.
  await tab.see("Next, you add money by card");
  await tab.register("ann");
  await tab.see("Add ₽200 or more to your wallet");
  await tab.see("Nothing is bought yet");
  await tab.clickBeginning("button", "Test card that is declined");
  await tab.see("The bank declined this card");
  await tab.clickBeginning("button", "Test card that pays");
  await tab.see("Confirm the purchase");
  await tab.see("₽0 is left");
  await tab.click("button", "Pay ₽200");
  await tab.see("Your 2 tickets are bought");
  const receipt = await tab.download(() => tab.click("button", "Save the receipt"));
  await tab.click("link", "To the draw");

  // The draw is shown live.
  await tab.see("Sale closes in");
  // What is never paid is no ticket of the draw.
  const unpaid = { tickets: [{ numbers: [1, 5] }], payment: "later" };
  await world.api("POST", `/draws/${draw.id}/tickets`, unpaid, await world.tokenOf("ann"));
  await world.conduct(draw.id);
  await tab.see("You won");
  assert.equal(await tab.page.$$eval(".own-tickets .ticket", (tickets) => tickets.length), 2);
  const { winning_numbers: drawn } = await world.api("GET", `/draws/${draw.id}`);
  await tab.page.waitForSelector(`::-p-aria([name="Numbers ${drawn.join(", ")}"])`);
  assert.ok((await world.balanceOf("ann")) > 0, "the prize is in the wallet");
  await tab.click("link", "Tickets");
  await tab.see("won with");

  // Everything is computed again, in this browser.
  await tab.open(`/verify/${draw.id}`);
  await tab.see("Everything was computed here, and it holds");
  assert.deepEqual(await tab.wrongSteps(), []);
  await tab.choose("#receipt-file", "receipt.json", receipt);
  await tab.see("Everything was computed here, and it holds");
  assert.deepEqual(await tab.wrongSteps(), []);
  await tab.close();
});

test("a visitor with a desktop buys in Russian, from quick picks and ready-made tickets", async () => {
  const draw = await world.openDraw({ lottery: "mini" });
  const tab = await world.visit(`/#/play/${draw.id}`, { language: "ru" });
  await tab.see("Выберите числа");
  await tab.click("button", "EN English");
  await tab.click("tab", "Quick pick");
  await tab.clickBeginning("button", "3 tickets");
  await tab.click("tab", "Ready-made");
  await tab.clickBeginning("button", "Choose ");
  await tab.see("Three short steps");
  await tab.click("button", "Buy for ₽400");
  await tab.register("bob");
  await tab.clickBeginning("button", "Test card that pays");
  await tab.click("button", "Pay ₽400");
  await tab.see("Your 4 tickets are bought");
  await tab.closeDialog();
  await tab.click("button", "Add a quick pick");
  await tab.see("Buy for ₽100");
  await tab.seeNoMore("Three short steps");
  await tab.close();
});

test("a player finds the receipt of a ticket later, and verifies it; errors are in the page's language", async () => {
  const draw = await world.openDraw({ lottery: "mini" });
  const tab = await world.visit("/", { language: "ru" });
  tab.expected.push("422");
  await tab.click("button", "Войти");
  await tab.click("button", "Создать профиль");
  await tab.type("Электронная почта", "kim@example.com");
  // The service alone knows which passwords many people use.
  await tab.type("Пароль", "password1");
  await tab.click("button", "Создать профиль", '[type="submit"]');
  await tab.see("Пароль: 8–128 символов");
  assert.doesNotMatch(await tab.page.$eval("dialog form", (form) => form.innerText), /must|people/);
  await tab.type("Пароль", PASSWORD);
  await tab.click("button", "Создать профиль", '[type="submit"]');
  await tab.seeNoMore("Создать профиль");

  const token = await world.tokenOf("kim");
  await world.api("POST", "/wallet/deposits", { amount: 30_000, token: "tok_visa" }, token);
  const lines = [{ quick_pick: true }, { quick_pick: true }];
  await world.api("POST", `/draws/${draw.id}/tickets`, { tickets: lines, payment: "wallet" }, token);
  await tab.page.evaluate(() => (location.hash = "#/tickets"));
  await tab.see("У каждого билета есть подписанная квитанция");
  await tab.see("по плану");
  await world.conduct(draw.id);
  await tab.page.reload({ waitUntil: "load" });
  const { drawn_at: drawn } = await world.api("GET", `/draws/${draw.id}`);
  const at = await tab.page.evaluate(
    (at) => new Date(at).toLocaleTimeString("ru", { hour: "numeric", minute: "2-digit" }),
    drawn,
  );
  await tab.see(`${at}, раньше срока вручную`);
  await tab.clickBeginning("button", "Квитанция");
  await tab.see("Подробности для проверяющих");
  const saved = JSON.parse(await tab.download(() => tab.click("button", "Сохранить квитанцию")));
  assert.deepEqual([saved.draw_id, saved.user_id], [draw.id, (await world.api("GET", "/me", undefined, token)).id]);
  assert.match(saved.proof, /^c2sp.org\/tlog-proof@v1\n/);
  await tab.click("link", "Проверить здесь");
  await tab.see("Ваш заказ на 2 билета есть в запечатанном списке");
  await tab.see("Всё пересчитано здесь, и всё сходится");
  await tab.see("Свидетели не объявлены");
  assert.deepEqual(await tab.wrongSteps(), []);
  await tab.close();
});

test("somebody buys a ticket with the keyboard alone", async () => {
  await world.openDraw({ lottery: "mini" });
  const tab = await world.visit("/");
  await tab.press("Add a quick pick");
  await tab.press("Buy for ₽100");
  for (const [name, text] of [["Email", "eve@example.com"], ["Username", "eve"], ["Password", PASSWORD]]) {
    await tab.goTo(name);
    await tab.page.keyboard.type(text);
  }
  await tab.press("Create account");
  await tab.see("Add ₽100 or more to your wallet");
  await tab.press("Test card that pays");
  await tab.press("Pay ₽100");
  await tab.see("Your ticket is bought");
  await tab.close();
});
