/*
 * Verifiers of passwords, and that an unknown login takes as long as a known one (goal G21): interleaved samples of this
 * thread's processor time, Welch's t below 4.5. VEREDUS_TIMING_SAMPLES=2000 for the whole (minutes).
 */
#include "tls/password.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

static const unsigned char pepper[PASSWORD_PEPPER_SIZE] = "thirty-two octets of pepper....";
static const unsigned char other[PASSWORD_PEPPER_SIZE] = "another pepper";

static int set_up(void **state)
{
    (void)state;
    return password_setup() ? 0 : -1;
}

static void test_verifiers(void **state)
{
    (void)state;
    struct buf verifier = buf_make(PASSWORD_VERIFIER_MAX);
    assert_true(password_make(STR("p\0\xc3\xa4ss"), pepper, &verifier));
    assert_true(str_starts(buf_str(&verifier), STR("$argon2id$")));
    assert_true(password_verify(STR("p\0\xc3\xa4ss"), buf_str(&verifier), pepper));
    assert_false(password_verify(STR("p"), buf_str(&verifier), pepper));
    assert_false(password_verify(STR_EMPTY, buf_str(&verifier), pepper));
    assert_false(password_verify(STR("p\0\xc3\xa4ss"), buf_str(&verifier), other));
    assert_false(password_verify(STR("p\0\xc3\xa4ss"), STR_EMPTY, pepper));
    assert_false(password_verify(STR("x"), STR("$argon2id$nonsense"), pepper));
    buf_free(&verifier);
}

static double seconds(struct str verifier)
{
    struct timespec begun;
    struct timespec ended;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begun);
    assert_false(password_verify(STR("wrong"), verifier, pepper));
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ended);
    return (double)(ended.tv_sec - begun.tv_sec) + (double)(ended.tv_nsec - begun.tv_nsec) / 1e9;
}

static void test_unknown_takes_as_long_as_known(void **state)
{
    (void)state;
    const char *wanted = getenv("VEREDUS_TIMING_SAMPLES");
    unsigned long count = wanted == NULL ? 60 : strtoul(wanted, NULL, 10);
    struct buf verifier = buf_make(PASSWORD_VERIFIER_MAX);
    double sum[2] = {0};
    double squares[2] = {0};
    assert_true(count >= 10);
    assert_true(password_make(STR("right"), pepper, &verifier));
    for (unsigned long i = 0; i < 2 * count; i++) {
        unsigned unknown = (unsigned)((i + i / 2) & 1); /* 0 1 1 0: neither is always the second */
        double taken = seconds(unknown ? STR_EMPTY : buf_str(&verifier));
        sum[unknown] += taken;
        squares[unknown] += taken * taken;
    }
    double n = (double)count;
    double mean[2] = {sum[0] / n, sum[1] / n};
    double error = 0;
    for (int i = 0; i < 2; i++) {
        error += (squares[i] - n * mean[i] * mean[i]) / (n - 1) / n;
    }
    double t = (mean[0] - mean[1]) / sqrt(error);
    print_message("means %.2f and %.2f ms, t %.2f of %lu samples each\n", mean[0] * 1e3, mean[1] * 1e3, t,
                  count);
    assert_true(fabs(t) < 4.5);
    buf_free(&verifier);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verifiers),
        cmocka_unit_test(test_unknown_takes_as_long_as_known),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
