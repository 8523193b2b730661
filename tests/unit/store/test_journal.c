/* The journal: what happened to one message and to many at once is told alike. */
#include "fixture.h"

#include <stdio.h>

static struct fixture f;

enum { FEW = 15, MANY = 20 };

static struct ident id_of(uint32_t number)
{
    return ident_make(1000 + number, number);
}

static void add(uint32_t number, enum journal_event event, const char *text)
{
    struct ident id = id_of(number);
    assert_int_equal(journal_add(f.index, &id, 1000, event, str_of(text)), 0);
}

/* Messages `first` and following as UIDs from 1 on; the last one is `again`. */
static void add_each(uint32_t first, uint32_t count, uint32_t again, const char *after)
{
    struct buf messages = buf_make(4096);
    for (uint32_t i = 0; i < count; i++) {
        struct ident id = id_of(i + 1 == count ? again : first + i);
        assert_true(journal_pack(&messages, &id, i + 1));
    }
    assert_int_equal(
        journal_add_each(f.index, buf_str(&messages), 2000, JOURNAL_EXPUNGED, STR("uid="), str_of(after)), 0);
    buf_free(&messages);
}

static void begin(void)
{
    fixture_open(&f, "");
    assert_int_equal(index_begin(f.index), 0);
}

static void end(void)
{
    assert_int_equal(index_commit(f.index), 0);
    fixture_close(&f);
}

struct told {
    struct buf text;
    unsigned most;
    unsigned rows;
};

static bool tell(void *context, const struct journal_row *row)
{
    struct told *told = context;
    buf_printf(&told->text, "%u %s %.*s\n", (unsigned)row->id.bytes[IDENT_SIZE - 1],
               journal_event_name(row->event), STR_ARGS(row->text));
    return ++told->rows < told->most;
}

static void expect(struct told *told, const char *text)
{
    buf_append(&told->text, "", 1);
    assert_string_equal(told->text.data, text);
    buf_free(&told->text);
}

static void expect_of(uint32_t number, unsigned most, const char *text)
{
    struct told told = {.text = buf_make(1 << 20), .most = most};
    struct ident id = id_of(number);
    assert_int_equal(journal_of(f.index, &id, tell, &told), 0);
    expect(&told, text);
}

static void expect_found(const char *what, unsigned limit, const char *text)
{
    struct told told = {.text = buf_make(1 << 20), .most = 1000};
    assert_int_equal(journal_search(f.index, str_of(what), limit, tell, &told), 0);
    expect(&told, text);
}

static void test_in_order(void **state)
{
    (void)state;
    begin();
    add(5, JOURNAL_FILED, "first");
    add_each(1, MANY, 5, " by=x");
    add(5, JOURNAL_HELD, "second");
    add_each(30, MANY, 50, " by=y"); /* not 5 */
    add_each(0, MANY, 90, " by=z");  /* 5 between the least and the greatest */
    add_each(5, FEW, 90, " by=few");
    add(5, JOURNAL_DROPPED, "last");
    assert_int_equal(fixture_sql(&f, "SELECT COUNT(*) FROM journal"), 3 + FEW);
    assert_int_equal(fixture_sql(&f, "SELECT COUNT(*) FROM journal_many"), 3);
    const char *all = "5 filed first\n5 expunged uid=5 by=x\n5 expunged uid=20 by=x\n5 held second\n"
                      "5 expunged uid=6 by=z\n5 expunged uid=1 by=few\n5 dropped last\n";
    expect_of(5, 1000, all);
    for (unsigned most = 1; most <= 7; most++) {
        char part[512];
        size_t len = 0;
        for (unsigned lines = 0; lines < most; len++) {
            part[len] = all[len];
            lines += all[len] == '\n';
        }
        part[len] = '\0';
        expect_of(5, most, part);
    }
    expect_of(30, 1000, "30 expunged uid=1 by=y\n");
    expect_of(70, 1000, ""); /* between those of one change, but not among them */
    end();
}

static void test_found(void **state)
{
    (void)state;
    begin();
    add(1, JOURNAL_ACCEPTED, "from=ann@x");
    add(2, JOURNAL_ACCEPTED, "from=bob@x");
    add_each(1, MANY, MANY, " by=imap login=Ann@x");
    add_each(1, MANY, MANY, " by=imap login=bob@x");
    expect_found("BOB@", 4,
                 "2 accepted from=bob@x\n20 expunged uid=20 by=imap login=bob@x\n"
                 "19 expunged uid=19 by=imap login=bob@x\n18 expunged uid=18 by=imap login=bob@x\n");
    expect_found("ann@", 1, "1 accepted from=ann@x\n");
    expect_found("carol@", 9, "");
    struct told told = {.text = buf_make(1 << 20), .most = 1000};
    assert_int_equal(journal_search(f.index, STR("login="), 1000, tell, &told), 0);
    assert_int_equal(told.rows, 2 * MANY);
    buf_free(&told.text);
    end();
}

static void test_trimmed(void **state)
{
    (void)state;
    begin();
    add(1, JOURNAL_ACCEPTED, "old");
    add(40, JOURNAL_ACCEPTED, "new");
    add_each(1, MANY, MANY, " by=x");
    add_each(10, MANY, 40, " by=y"); /* some are older, one is not */
    assert_int_equal(journal_trim(f.index, 1000 + 40, 100), 1);
    expect_of(1, 1000, "");
    expect_of(10, 1000, "10 expunged uid=1 by=y\n");
    expect_of(40, 1000, "40 accepted new\n40 expunged uid=20 by=y\n");
    end();
}

/* Whatever is in the blob, each whole message of it is told, and nothing beyond. */
static void test_damaged(void **state)
{
    (void)state;
    begin();
    add_each(1, MANY, MANY, " by=x");
    for (int octets = 0; octets <= 40; octets++) {
        char sql[200];
        snprintf(sql, sizeof(sql), "UPDATE journal_many SET messages = substr(messages, 1, %d)", 40 - octets);
        assert_int_equal(sqlite3_exec(f.index->db, sql, NULL, NULL, NULL), SQLITE_OK);
        expect_of(1, 1000, octets <= 24 ? "1 expunged uid=1 by=x\n" : "");
        expect_of(2, 1000, octets <= 8 ? "2 expunged uid=2 by=x\n" : "");
    }
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_in_order), cmocka_unit_test(test_found),
                                       cmocka_unit_test(test_trimmed), cmocka_unit_test(test_damaged)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
