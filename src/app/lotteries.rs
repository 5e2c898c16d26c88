//! The lotteries and schedules of the configuration, as the domain has them. An error names the setting.

use super::AppError;
use super::settings::signed;
use crate::actors::schedule::DrawPlan;
use crate::config::{LotteryConfig, PaysConfig, ScheduleConfig};
use crate::domain::game::Game;
use crate::domain::id::LotteryId;
use crate::domain::lottery::{Lottery, Rules};
use crate::domain::money::{Money, Share};
use crate::domain::prize::{Award, PrizeTable, Tier};
use crate::domain::schedule::{Schedule, ScheduleError};

/// The configured lotteries, checked by the rules of the domain.
pub fn lotteries(configured: &[LotteryConfig]) -> Result<Vec<Lottery>, AppError> {
    configured.iter().enumerate().map(|(index, it)| lottery(it, &format!("lotteries[{index}]"))).collect()
}

/// The configured schedules, checked by the rules of the domain.
pub fn plans(configured: &[ScheduleConfig], lotteries: &[Lottery]) -> Result<Vec<DrawPlan>, AppError> {
    configured.iter().enumerate().map(|(index, it)| plan(it, &format!("schedules[{index}]"), lotteries)).collect()
}

fn plan(it: &ScheduleConfig, key: &str, lotteries: &[Lottery]) -> Result<DrawPlan, AppError> {
    let setting = |name: &str, what: String| AppError::Setting { key: format!("{key}.{name}"), what };
    let lottery = lotteries.iter().find(|lottery| lottery.rules.lottery.0 == it.lottery);
    let rules = lottery.map(|lottery| lottery.rules.clone());
    let rules = rules.ok_or_else(|| setting("lottery", "there is no such lottery".to_owned()))?;
    let schedule = Schedule::new(&it.at, &it.time_zone, signed(it.on_sale), signed(it.cut_off));
    let schedule = schedule.map_err(|error| {
        let name = match error {
            ScheduleError::At(_) => "at",
            ScheduleError::Zone => "time_zone",
            ScheduleError::OnSale => "on_sale",
        };
        setting(name, error.to_string())
    })?;
    let combinations = rules.game.combinations();
    if u64::from(it.pool) > combinations {
        return Err(setting("pool", format!("there are only {combinations} combinations")));
    }
    Ok(DrawPlan { rules, schedule, pool: it.pool as usize, ahead: it.ahead })
}

fn lottery(it: &LotteryConfig, key: &str) -> Result<Lottery, AppError> {
    let setting = |name: &str, error: &dyn std::fmt::Display| AppError::Setting {
        key: format!("{key}.{name}"),
        what: error.to_string(),
    };
    let game = Game::new(it.pick, it.of).map_err(|error| setting("pick", &error))?;
    let fund_share = Share::new(it.fund_share).map_err(|error| setting("fund_share", &error))?;
    let mut tiers = Vec::new();
    for prize in &it.prizes {
        let award = match prize.pays {
            PaysConfig::Fixed(amount) => Award::Fixed(Money::new(amount)),
            PaysConfig::Share { share, minimum } => Award::Shared {
                share: Share::new(share).map_err(|error| setting("prizes", &error))?,
                minimum: minimum.map(Money::new),
            },
        };
        tiers.push(Tier { matches: prize.matches, award });
    }
    let prizes = PrizeTable::new(game, tiers).map_err(|error| setting("prizes", &error))?;
    let (lottery, price) = (LotteryId(it.id.clone()), Money::new(it.price));
    let rules = Rules { lottery, game, price, fund_share, prizes };
    if !it.allow_loss {
        rules.check_funding().map_err(|error| {
            let remedy =
                "Lower them, raise `price` or `fund_share`, or set `allow_loss: true` if the reserve shall pay";
            setting("prizes", &format!("{error}. {remedy}"))
        })?;
    }
    Ok(Lottery { name: it.name.clone(), rules })
}
