/* The full-text index of an account: what is found, whose file it is, readers beside the writer, damage, and every failure. */
#include "base/mem.h"
#include "fixture.h"
#include "message/terms.h"
#include "store/fulltext.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ACCOUNT = 7, BOX = 3, OTHER = 4, VALIDITY = 99, INDEX = 12345 };

static struct fulltext *open_writer(int64_t index_id)
{
    struct buf errors = buf_make(1024);
    struct fulltext *f = fulltext_open_writer(ACCOUNT, index_id, &errors);
    assert_non_null(f);
    assert_int_equal(errors.len, 0);
    buf_free(&errors);
    return f;
}

static struct fulltext *open_reader(int64_t index_id)
{
    struct buf errors = buf_make(1024);
    struct fulltext *f = fulltext_open_reader(ACCOUNT, index_id, &errors);
    buf_free(&errors);
    return f;
}

static int set_up(void **state)
{
    static struct fixture fixture;
    fixture_open(&fixture, "");
    assert_int_equal(mkdir("fulltext", 0700), 0);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    fixture_close(*state);
    return 0;
}

static void add(struct fulltext *f, int64_t mailbox, uint32_t uid, const char *text)
{
    struct buf message = buf_make(4096);
    struct buf terms = buf_make(1 << 20);
    buf_append_lit(&message, "\r\n");
    buf_append_str(&message, str_of(text));
    assert_true(terms_of_message(buf_str(&message), &terms));
    assert_int_equal(fulltext_add(f, mailbox, uid, buf_str(&terms)), 0);
    buf_free(&message);
    buf_free(&terms);
}

static void fill(void)
{
    struct fulltext *f = open_writer(INDEX);
    assert_int_equal(fulltext_begin(f), 0);
    add(f, BOX, 1, "the quick brown fox");
    add(f, BOX, 2, "the lazy dog");
    add(f, BOX, 5, "a brown dog");
    assert_int_equal(fulltext_add_unknown(f, BOX, 6), 0);
    add(f, BOX, 9, "another fox");
    add(f, OTHER, 1, "the quick brown fox");
    assert_int_equal(fulltext_set_place(f, BOX, VALIDITY, 9), 0);
    assert_int_equal(fulltext_set_place(f, OTHER, VALIDITY, 1), 0);
    assert_int_equal(fulltext_commit(f), 0);
    assert_int_equal(fulltext_documents(f), 6);
    fulltext_close(f);
}

static bool collect(void *context, uint32_t uid)
{
    return buf_printf(context, "%u ", uid);
}

static void assert_found(struct fulltext *f, int64_t mailbox, uint32_t last, const char *needle,
                         const char *expected)
{
    struct buf terms = buf_make(4096);
    struct buf found = buf_make(4096);
    assert_true(terms_of_needle(str_of(needle), 20, &terms));
    buf_truncate(&terms, terms.len - 1);
    assert_int_equal(fulltext_search(f, mailbox, last, buf_str(&terms), collect, &found), 0);
    assert_true(str_equal(buf_str(&found), str_of(expected)));
    buf_free(&terms);
    buf_free(&found);
}

static void test_what_is_found(void **state)
{
    (void)state;
    fill();
    struct fulltext *f = open_reader(INDEX);
    uint32_t uid;
    assert_non_null(f);
    assert_found(f, BOX, 9, "brown", "1 5 6 ");
    assert_found(f, BOX, 9, "own d", "5 6 ");
    assert_found(f, BOX, 9, "fox", "1 6 9 ");
    assert_found(f, BOX, 5, "fox", "1 ");
    assert_found(f, BOX, 9, "nothing", "6 ");
    assert_found(f, OTHER, 9, "fox", "1 ");
    assert_found(f, OTHER, 9, "dog", "");
    assert_int_equal(fulltext_place(f, BOX, VALIDITY, &uid), 0);
    assert_int_equal(uid, 9);
    assert_int_equal(fulltext_place(f, BOX, VALIDITY + 1, &uid), 0);
    assert_int_equal(uid, 0);
    assert_int_equal(fulltext_place(f, 77, VALIDITY, &uid), 0);
    assert_int_equal(uid, 0);
    fulltext_close(f);
}

/* A question comes from imapd, which may be hostile. */
static void test_what_is_no_question(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",
                                        " ",
                                        ",",
                                        "abc ",
                                        " abc",
                                        "abc,",
                                        ",abc",
                                        "a  b",
                                        "a,,b",
                                        "ABC",
                                        "a\"b",
                                        "a*",
                                        "(abc)",
                                        "abc OR",
                                        "-abc",
                                        "xyz",
                                        "a\tb",
                                        "a:b",
                                        "0123456789012345",
                                        "a b\xc3\xa9"};
    struct buf many = buf_make(8192);
    fill();
    struct fulltext *f = open_reader(INDEX);
    struct buf found = buf_make(4096);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(fulltext_search(f, BOX, 9, str_of(wrong[i]), collect, &found), -1);
    }
    for (unsigned i = 0; i <= FULLTEXT_WORDS_MAX; i++) {
        buf_printf(&many, "%sa", i == 0 ? "" : " ");
    }
    assert_int_equal(fulltext_search(f, BOX, 9, buf_str(&many), collect, &found), -1);
    assert_int_equal(fulltext_search(f, BOX, 9, str_sub(buf_str(&many), 0, many.len - 2), collect, &found),
                     0);
    fulltext_close(f);
    buf_free(&found);
    buf_free(&many);
}

static void test_alternatives(void **state)
{
    (void)state;
    struct buf a = buf_make(4096);
    struct buf found = buf_make(4096);
    fill();
    struct fulltext *f = open_reader(INDEX);
    assert_true(terms_of_needle(STR("lazy"), 20, &a));
    buf_truncate(&a, a.len - 1);
    buf_append_char(&a, ',');
    assert_true(terms_of_needle(STR("quick"), 20, &a));
    buf_truncate(&a, a.len - 1);
    assert_int_equal(fulltext_search(f, BOX, 9, buf_str(&a), collect, &found), 0);
    assert_true(str_equal(buf_str(&found), STR("1 2 6 ")));
    fulltext_close(f);
    buf_free(&a);
    buf_free(&found);
}

static void test_a_file_of_another_index(void **state)
{
    (void)state;
    uint32_t uid;
    fill();
    assert_null(open_reader(INDEX + 1));
    assert_null(open_reader(0));
    struct fulltext *f = open_writer(INDEX + 1);
    assert_int_equal(fulltext_place(f, BOX, VALIDITY, &uid), 0);
    assert_int_equal(uid, 0);
    assert_found(f, BOX, 9, "fox", "");
    fulltext_close(f);
    assert_null(open_reader(INDEX));
    f = open_reader(INDEX + 1);
    assert_non_null(f);
    fulltext_close(f);
    assert_int_equal(fulltext_remove(ACCOUNT), 0);
    assert_int_equal(fulltext_remove(ACCOUNT), 0);
    assert_null(open_reader(INDEX + 1));
}

static void test_the_id_of_an_index(void **state)
{
    struct fixture *fixture = *state;
    int64_t id = 0;
    int64_t again = 0;
    assert_int_equal(index_begin(fixture->index), 0);
    assert_int_equal(fulltext_index_id(fixture->index, &id), 0);
    assert_true(id > 0);
    assert_int_equal(fulltext_index_id(fixture->index, &again), 0);
    assert_int_equal(id, again);
    assert_int_equal(index_commit(fixture->index), 0);
}

/* Who reads while the writer commits sees all of the transaction or nothing, and neither waits long. */
static void test_reader_and_writer(void **state)
{
    (void)state;
    fill();
    struct fulltext *writer = open_writer(INDEX);
    assert_int_equal(fulltext_begin(writer), 0);
    add(writer, BOX, 10, "a new fox");
    assert_int_equal(fulltext_set_place(writer, BOX, VALIDITY, 10), 0);
    struct fulltext *reader = open_reader(INDEX);
    assert_non_null(reader);
    assert_found(reader, BOX, 10, "fox", "1 6 9 ");
    assert_int_equal(sqlite3_exec(reader->db, "BEGIN; SELECT * FROM place", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(fulltext_commit(writer), -1);
    assert_int_equal(writer->code, SQLITE_BUSY);
    assert_int_equal(sqlite3_exec(reader->db, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(fulltext_commit(writer), 0);
    assert_found(reader, BOX, 10, "fox", "1 6 9 10 ");
    fulltext_close(reader);
    fulltext_close(writer);
}

static void test_many_are_kept_in_order(void **state)
{
    (void)state;
    struct fulltext *f = open_writer(INDEX);
    struct buf expected = buf_make(1 << 20);
    bool more = true;
    for (uint32_t batch = 0; batch < 24; batch++) {
        assert_int_equal(fulltext_begin(f), 0);
        for (uint32_t i = 1; i <= 20; i++) {
            char text[64];
            snprintf(text, sizeof(text), "common %s %u", i == 7 ? "seventh" : "other", batch * 1000 + i);
            add(f, BOX, batch * 20 + i, text);
        }
        buf_printf(&expected, "%u ", batch * 20 + 7);
        assert_int_equal(fulltext_commit(f), 0);
    }
    unsigned steps = 0;
    for (; more; steps++) {
        assert_int_equal(fulltext_tidy(f, &more), 0);
        assert_true(steps < 1000);
    }
    assert_true(steps > 1);
    buf_append_char(&expected, '\0');
    assert_found(f, BOX, 10000, "seventh", expected.data);
    fulltext_close(f);
    buf_free(&expected);
}

static void overwrite(long at, const char *text)
{
    FILE *file = fopen("fulltext/7.db", "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, at, SEEK_SET), 0);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

/* A damaged file is thrown away by the writer, and is none to a reader. */
static void test_a_damaged_file(void **state)
{
    (void)state;
    uint32_t uid = 1;
    fill();
    overwrite(0, "this is no database, and never was one");
    assert_null(open_reader(INDEX));
    struct fulltext *f = open_writer(INDEX);
    assert_int_equal(fulltext_place(f, BOX, VALIDITY, &uid), 0);
    assert_int_equal(uid, 0);
    fulltext_close(f);
}

/* One run of a writer and a reader; true if all went well. What is committed is right in any case. */
static bool work(void)
{
    struct buf errors = buf_make(1024);
    struct buf found = buf_make(1024);
    struct fulltext *f = fulltext_open_writer(ACCOUNT, INDEX, &errors);
    bool more;
    bool fine = f != NULL && fulltext_begin(f) == 0 && fulltext_add(f, BOX, 1, STR("wabc wbcd ")) == 0 &&
                fulltext_set_place(f, BOX, VALIDITY, 1) == 0 && fulltext_commit(f) == 0 &&
                fulltext_tidy(f, &more) == 0;
    if (f != NULL && !fine) {
        fulltext_rollback(f);
    }
    fulltext_close(f);
    f = fulltext_open_reader(ACCOUNT, INDEX, &errors);
    uint32_t uid = 0;
    if (f != NULL && fulltext_place(f, BOX, VALIDITY, &uid) == 0 && uid == 1 &&
        fulltext_search(f, BOX, 1, STR("wabc"), collect, &found) == 0) {
        assert_true(!buf_ok(&found) || str_equal(buf_str(&found), STR("1 ")));
    } else {
        fine = false;
    }
    fulltext_close(f);
    buf_free(&errors);
    buf_free(&found);
    return fine;
}

static void test_every_allocation_may_fail(void **state)
{
    (void)state;
    int64_t live = mem_live();
    for (uint64_t k = 1;; k++) {
        fulltext_remove(ACCOUNT);
        mem_fail_at(k, 1);
        bool fine = work();
        bool reached = mem_count() >= k;
        mem_fail_at(0, 0);
        assert_int_equal(mem_live(), live);
        if (!reached) {
            assert_true(fine);
            break;
        }
        assert_true(work());
    }
}

int main(void)
{
#define FULLTEXT_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {FULLTEXT_TEST(test_what_is_found),
                                       FULLTEXT_TEST(test_what_is_no_question),
                                       FULLTEXT_TEST(test_alternatives),
                                       FULLTEXT_TEST(test_a_file_of_another_index),
                                       FULLTEXT_TEST(test_the_id_of_an_index),
                                       FULLTEXT_TEST(test_reader_and_writer),
                                       FULLTEXT_TEST(test_many_are_kept_in_order),
                                       FULLTEXT_TEST(test_a_damaged_file),
                                       FULLTEXT_TEST(test_every_allocation_may_fail)};
    return cmocka_run_group_tests_name("fulltext", tests, NULL, NULL);
}
