//! Reads the rules of a draw: the copy of its lottery's rules that was made when the draw was created. The
//! configuration may have changed since.

use tokio_postgres::Row;

use crate::db::DbError;
use crate::domain::game::Game;
use crate::domain::id::LotteryId;
use crate::domain::lottery::Rules;
use crate::domain::money::{Money, Share};
use crate::domain::prize::{Award, PrizeTable, Tier};

/// The rules in a row that has a draw's columns, and those of its tiers as the arrays `matches`, `amounts`, `shares`
/// and `minimums`.
pub(super) fn rules(row: &Row) -> Result<Rules, DbError> {
    let game = game(row)?;
    Ok(Rules {
        lottery: LotteryId(row.get("lottery")),
        game,
        price: Money::new(row.get("price")),
        fund_share: basis_points(row.get("fund_share"))?,
        prizes: PrizeTable::new(game, tiers(row)?).map_err(|_| DbError::Corrupt("prize table"))?,
    })
}

/// The game in a row that has the columns `pick` and `of`.
pub(super) fn game(row: &Row) -> Result<Game, DbError> {
    let number = |name| u8::try_from(row.get::<_, i16>(name)).map_err(|_| DbError::Corrupt("game"));
    Game::new(number("pick")?, number("of")?).map_err(|_| DbError::Corrupt("game"))
}

fn tiers(row: &Row) -> Result<Vec<Tier>, DbError> {
    // A draw without tiers has no arrays. Otherwise they have the same length: one entry for each tier.
    let matches: Option<Vec<i16>> = row.get("matches");
    let matches = matches.ok_or(DbError::Corrupt("prize table"))?;
    let (amounts, minimums): (Vec<Option<i64>>, Vec<Option<i64>>) = (row.get("amounts"), row.get("minimums"));
    let shares: Vec<Option<i16>> = row.get("shares");
    let mut tiers = Vec::new();
    for (place, matches) in matches.into_iter().enumerate() {
        let award = match (amounts[place], shares[place], minimums[place].map(Money::new)) {
            (Some(amount), None, None) => Award::Fixed(Money::new(amount)),
            (None, Some(share), minimum) => Award::Shared { share: basis_points(share)?, minimum },
            _ => return Err(DbError::Corrupt("tier")),
        };
        tiers.push(Tier { matches: u8::try_from(matches).map_err(|_| DbError::Corrupt("tier"))?, award });
    }
    Ok(tiers)
}

fn basis_points(share: i16) -> Result<Share, DbError> {
    let share = u16::try_from(share).map_err(|_| DbError::Corrupt("share"))?;
    Share::new(share).map_err(|_| DbError::Corrupt("share"))
}
