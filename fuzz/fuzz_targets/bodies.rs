//! Fuzzes request bodies: a body is read, or refused with a reason that may be shown. The stored form of a
//! request, which its idempotency key stands for, must be read the same way again. Otherwise a replay would look
//! like another request.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lottery::http::fuzzing;

fuzz_target!(|bytes: &[u8]| {
    for problem in fuzzing::bodies(bytes).into_iter().flatten() {
        assert_eq!(problem.cause(), None, "{problem}");
    }
    for (call, read) in fuzzing::keyed(bytes).into_iter().enumerate() {
        match read {
            Ok(understood) => {
                let again = fuzzing::keyed(&understood).swap_remove(call);
                assert_eq!(again.as_deref().ok(), Some(&understood[..]), "{again:?}");
            }
            Err(problem) => assert_eq!(problem.cause(), None, "{problem}"),
        }
    }
});
