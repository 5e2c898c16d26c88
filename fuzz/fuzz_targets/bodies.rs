//! Request bodies: read, or refused with a reason that may be shown; and what a key stands for is read the same way
//! again, or a replay would be another request.
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
