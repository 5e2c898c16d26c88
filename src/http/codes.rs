//! The error codes of the API with their statuses and texts: the one table for the answers, the OpenAPI document and
//! the page of all codes. Does not say which call sends which code: the annotations at the handlers do.

use actix_web::http::StatusCode;
use serde::{Serialize, Serializer};

/// Whether the same request may succeed if it is sent again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    No,
    Later,
    AfterPause,
    SameKey,
}

impl Retry {
    /// For the page of all codes.
    pub fn text(self) -> &'static str {
        match self {
            Retry::No => "No: unchanged, the request is refused again.",
            Retry::Later => "Later: what the request needs may be there then.",
            Retry::AfterPause => "Yes, after the number of seconds in the header `Retry-After`.",
            Retry::SameKey => {
                "Yes, with the same `Idempotency-Key`: then it has one effect, however often it is sent."
            }
        }
    }
}

/// `Variant "code" STATUS Retry { title, meaning, remedy }`. The remedy is also the `detail` of an answer that has
/// nothing more precise to say.
macro_rules! codes {
    ($($code:ident $name:literal $status:ident $retry:ident { $title:literal $meaning:literal $remedy:literal })*) => {
        /// The stable name of an error.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Code {
            $($code,)*
        }

        impl Code {
            pub const ALL: &[Code] = &[$(Code::$code,)*];

            /// As the contract writes it.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$code => $name,)* }
            }

            pub fn status(self) -> StatusCode {
                match self { $(Code::$code => StatusCode::$status,)* }
            }

            pub fn retry(self) -> Retry {
                match self { $(Code::$code => Retry::$retry,)* }
            }

            /// The error in a few words.
            pub fn title(self) -> &'static str {
                match self { $(Code::$code => $title,)* }
            }

            /// What it means.
            pub fn meaning(self) -> &'static str {
                match self { $(Code::$code => $meaning,)* }
            }

            /// What to do about it.
            pub fn remedy(self) -> &'static str {
                match self { $(Code::$code => $remedy,)* }
            }
        }
    };
}

codes! {
    MalformedJson "malformed_json" BAD_REQUEST No {
        "The body is not JSON"
        "The body is no valid JSON, or it ended before its end. Nothing was done."
        "send one JSON object, in UTF-8"
    }
    Unauthorized "unauthorized" UNAUTHORIZED No {
        "Log in first"
        "The request has no access token, or the token is invalid, has expired, or its session has ended. A refresh token, \
         a token for a password reset and the signature of a webhook are refused with this code too."
        "send Authorization: Bearer <access token>"
    }
    InvalidCredentials "invalid_credentials" UNAUTHORIZED No {
        "Wrong login or password"
        "No user has this login with this password. The answer does not tell which of the two is wrong."
        "correct the login or the password; an admin can allow a password reset"
    }
    InsufficientFunds "insufficient_funds" PAYMENT_REQUIRED No {
        "The wallet holds less than that"
        "The balance of the wallet is lower than the amount. Money that is set aside for a withdrawal is not part of it."
        "fund the wallet first; nothing was taken"
    }
    Forbidden "forbidden" FORBIDDEN No {
        "Not allowed"
        "The user is no admin. Each refused call is recorded in the audit log."
        "only admins may do this"
    }
    AccountBlocked "account_blocked" FORBIDDEN No {
        "The account is blocked"
        "An admin has blocked the account: it can neither log in nor make calls until it is active again."
        "ask the operator why"
    }
    AdminsDoNotPlay "admins_do_not_play" FORBIDDEN No {
        "Admins do not play here"
        "The operator does not let admins buy tickets."
        "use an account that is no admin's: the operator keeps admins out of its draws (security.admins_play)"
    }
    NotFound "not_found" NOT_FOUND No {
        "It does not exist"
        "There is nothing at this address, or what it names does not exist or belongs to another user."
        "there is nothing at this address"
    }
    MethodNotAllowed "method_not_allowed" METHOD_NOT_ALLOWED No {
        "The method is not allowed here"
        "The address exists, but not with this method (GET, POST, …)."
        "use one of the methods that the header Allow lists"
    }
    UsernameTaken "username_taken" CONFLICT No {
        "The username is taken"
        "Another user has this username. Upper and lower case make no difference."
        "choose another one"
    }
    EmailTaken "email_taken" CONFLICT No {
        "The email address is taken"
        "Another user has this email address. Upper and lower case make no difference."
        "log in, or use another one"
    }
    DrawNotOpen "draw_not_open" CONFLICT Later {
        "The draw is not on sale"
        "The sale of the draw has not begun, or it is over."
        "tickets are sold while the draw is open"
    }
    DrawNotCompleted "draw_not_completed" CONFLICT Later {
        "The draw is not completed"
        "There is no result yet: the numbers are not drawn, or prizes are still being paid. A cancelled draw never has a result."
        "the result is published when all prizes are paid"
    }
    TicketUnavailable "ticket_unavailable" CONFLICT No {
        "The ticket is sold or reserved"
        "A pool ticket that the order names is sold, reserved, or not of this draw's pool."
        "choose another pool ticket; nothing was taken"
    }
    PoolEmpty "pool_empty" CONFLICT Later {
        "The pool has no ticket left"
        "The order wants more pool tickets than the pool has. A reservation that expires goes back to the pool."
        "the pool has too few tickets left; nothing was taken"
    }
    TooManyReservations "too_many_reservations" CONFLICT Later {
        "Too many tickets are reserved and not paid"
        "An account may have a limited number of tickets reserved and not paid, over all draws."
        "pay for some, give some back (DELETE /tickets/{id}), or wait until they expire; nothing was taken"
    }
    TicketNotReserved "ticket_not_reserved" CONFLICT No {
        "The ticket is not reserved"
        "The ticket is paid, expired or given back, or it is being paid for at this moment."
        "only a reserved ticket can be given back, and not while it is being paid for"
    }
    TicketNotPaid "ticket_not_paid" CONFLICT Later {
        "The ticket is not paid"
        "Only a paid ticket is in the ticket log of its draw. A reserved one is put there when it is paid."
        "pay for the ticket first"
    }
    DrawNotSealed "draw_not_sealed" CONFLICT Later {
        "The draw's list is not sealed"
        "The orders of a draw are public once its sale is over: before, others could choose rare numbers with them."
        "ask again when the draw is closed; tiles of hashes and the checkpoint are public now"
    }
    DrawNotVerifiable "draw_not_verifiable" CONFLICT No {
        "The draw has no ticket log"
        "The draw was opened before draws could be verified, or it was never opened."
        "only draws that were opened since can be verified"
    }
    ListMismatch "list_mismatch" CONFLICT Later {
        "The sold tickets are not those that were sealed"
        "Somebody has changed the tickets of the draw in the database after its list was sealed, or its rules after they were \
         announced. The draw has stopped: nothing is paid. The service's log says what differs."
        "put the tickets and the rules back as they were and conduct the draw again; docs/operations.md says how"
    }
    PaymentNotPayable "payment_not_payable" CONFLICT No {
        "The payment cannot be paid"
        "Only a pending payment for tickets can be paid, and only while its draw is on sale."
        "it is paid or being paid, its time is up, or its draw is not on sale any more"
    }
    BeaconNotReady "beacon_not_ready" CONFLICT Later {
        "The beacon's round is not known"
        "The numbers of the draw come from a round of a public beacon that was announced before the sale. Its time has not come, \
         or no server of the beacon has answered with its signature yet."
        "the numbers are drawn by themselves when it is known"
    }
    DrawWaits "draw_waits" CONFLICT Later {
        "Another draw has to end first"
        "The jackpot of a draw has what the draw before it in its lottery has left. That one has neither its prizes fixed nor \
         is it cancelled."
        "the numbers are drawn by themselves when it has ended"
    }
    DrawDue "draw_due" CONFLICT No {
        "The draw takes place as it was announced"
        "Once the sale of a draw with a beacon was to end, nobody can give it other times or cancel it: its numbers may be known."
        "cancel a draw or give it other times before its sales_close_at"
    }
    InvalidTransition "invalid_transition" CONFLICT No {
        "The state does not allow it"
        "The draw, the withdrawal or the charge is in a state from which this step does not lead."
        "look at its status first"
    }
    LastAdmin "last_admin" CONFLICT No {
        "It is the last active admin"
        "The last active admin cannot be blocked and cannot become a player."
        "make somebody else an admin first"
    }
    OwnWithdrawal "own_withdrawal" CONFLICT No {
        "The withdrawal is the admin's own"
        "No admin approves a withdrawal from the own wallet."
        "ask another admin to approve it; you may reject it yourself"
    }
    OwnPayment "own_payment" CONFLICT No {
        "The payment is the admin's own"
        "No admin ends a charge of an own payment."
        "ask another admin to end its charge"
    }
    IdempotencyInProgress "idempotency_in_progress" CONFLICT SameKey {
        "The first request with this key still runs"
        "A request with the same `Idempotency-Key` has not been answered yet."
        "wait for its answer"
    }
    RequestTimeout "request_timeout" REQUEST_TIMEOUT SameKey {
        "The body took too long"
        "The body of the request did not arrive in time. Nothing was done."
        "send the body without a pause"
    }
    PayloadTooLarge "payload_too_large" PAYLOAD_TOO_LARGE No {
        "The body is too large"
        "The body of the request is larger than the service accepts. Nothing was done."
        "send less in one request, or several requests"
    }
    UnsupportedMediaType "unsupported_media_type" UNSUPPORTED_MEDIA_TYPE No {
        "The body must be application/json"
        "The header `Content-Type` is missing, or names another format than JSON."
        "send Content-Type: application/json"
    }
    ValidationFailed "validation_failed" UNPROCESSABLE_ENTITY No {
        "Some fields are invalid"
        "Fields of the body, parameters of the query or a header are missing, unknown, or have a value that is not allowed. \
         `errors` names each of them."
        "correct the fields that errors names"
    }
    IdempotencyKeyReused "idempotency_key_reused" UNPROCESSABLE_ENTITY No {
        "The key was used with another request"
        "The same user has sent this `Idempotency-Key` with another path or another body."
        "take a new key for a new request"
    }
    RateLimited "rate_limited" TOO_MANY_REQUESTS AfterPause {
        "Too many requests"
        "The account, the client's network or the login has reached a limit. Nothing was done."
        "wait, and send fewer requests"
    }
    InternalError "internal_error" INTERNAL_SERVER_ERROR SameKey {
        "Internal error"
        "The service failed. Its log has the cause under the `X-Request-Id` of the answer."
        "the service's log has the cause under the request id"
    }
    Overloaded "overloaded" SERVICE_UNAVAILABLE AfterPause {
        "Too busy; nothing was taken"
        "The service has too much to do, or its database does not answer. Nothing was taken or charged."
        "nothing was taken or charged; try again in a moment"
    }
    Standby "standby" SERVICE_UNAVAILABLE AfterPause {
        "Another node serves"
        "This node stands by or stops. Nothing was taken or charged."
        "this node does not serve now; nothing was taken or charged; try again, at another node if there is one"
    }
    OutcomeUnknown "outcome_unknown" SERVICE_UNAVAILABLE SameKey {
        "It is not known yet whether the call succeeded"
        "The service cannot tell yet whether the call has had its effect."
        "it may still succeed: repeat the call with the same Idempotency-Key, or look at your payments"
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
