/* Hostile clients of the POP3 server engine, within the limits that the configuration sets by default; see growth.h. */
#include "growth.h"

#include "../unit/pop3/driver.h"

static struct driver driver;

static void prepare(void)
{
    driver_init(&driver, true, true);
    driver_add(&driver, STR("Subject: one\r\n\r\n.\r\n..\r\n"));
    driver_start(&driver, STR_EMPTY);
}

static void run_pop3(struct str input)
{
    driver_say(&driver, input, 4096);
}

static void run_by_octets(struct str input)
{
    driver_say(&driver, input, 1);
}

#define IN "USER user@example.org\r\nPASS secret\r\n"

static const struct growth_case cases[] = {
    {"pop3-noop", IN, "NOOP\r\n", "", run_pop3},
    {"pop3-noop-by-octets", IN, "NOOP\r\n", "", run_by_octets},
    {"pop3-empty-lines", "", "\r\n", "", run_pop3},
    {"pop3-endless-line", "", "x", "", run_pop3},
    {"pop3-endless-line-by-octets", "", "x", "", run_by_octets},
    {"pop3-user", "", "USER a\r\n", "", run_pop3},
    {"pop3-auth-cancelled", "", "AUTH PLAIN\r\n*\r\n", "", run_pop3},
    {"pop3-auth-long", "AUTH PLAIN ", "QUJD", "\r\n", run_pop3},
    {"pop3-list", IN, "LIST 1\r\n", "", run_pop3},
    {"pop3-dele-rset", IN, "DELE 1\r\nRSET\r\n", "", run_pop3},
    {"pop3-retr", IN, "RETR 1\r\n", "", run_pop3},
    {"pop3-top", IN, "TOP 1 1\r\n", "", run_pop3},
};

static const struct growth_table growth_pop3 = {cases, sizeof(cases) / sizeof(cases[0])};
void (*const growth_prepare)(void) = prepare;
const struct growth_table *const growth_tables[] = {&growth_pop3};
const size_t growth_table_count = 1;
