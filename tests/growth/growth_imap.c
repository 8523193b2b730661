/* Hostile clients of the IMAP server engine, within the limits that the configuration sets by default; see growth.h. */
#include "growth.h"

#include "../unit/imap/driver.h"

#include <stdlib.h>

static struct driver driver;

static void prepare(void)
{
    if (!driver_init(&driver, true)) {
        abort();
    }
    driver_start(&driver);
}

static void run_imap(struct str input)
{
    driver_say(&driver, input, 4096);
}

static void run_by_octets(struct str input)
{
    driver_say(&driver, input, 1);
}

#define LOGIN "l LOGIN ann pw\r\n"
#define IN    LOGIN "s SELECT INBOX\r\n"
#define URL   IN "a APPEND INBOX CATENATE (URL \""

static const struct growth_case cases[] = {
    {"imap-noop", IN, "a NOOP\r\n", "", run_imap},
    {"imap-noop-by-octets", IN, "a NOOP\r\n", "", run_by_octets},
    {"imap-empty-lines", "", "\r\n", "", run_imap},
    {"imap-long-line", "a ", "x", "\r\n", run_imap},
    {"imap-endless-line-by-octets", "", "x", "", run_by_octets},
    {"imap-unknown-commands", IN, "a X\r\n", "", run_imap},
    {"imap-login", "", "a LOGIN {1+}\r\nx {1+}\r\ny\r\n", "", run_imap},
    {"imap-authenticate-cancelled", "", "a AUTHENTICATE PLAIN\r\n*\r\n", "", run_imap},
    {"imap-authenticate-long", "a AUTHENTICATE PLAIN ", "QUJD", "\r\n", run_imap},
    {"imap-literals", IN "a LIST", " {1+}\r\nx", "\r\n", run_imap},
    {"imap-literals-by-octets", IN "a LIST", " {1+}\r\nx", "\r\n", run_by_octets},
    {"imap-literals-refused", IN, "a APPEND INBOX {999999999}\r\n", "", run_imap},
    {"imap-literals-skipped", IN, "a X {9+}\r\n123456789\r\n", "", run_imap},
    {"imap-id", IN "a ID (", "\"k\" \"v\" ", "\"l\" NIL)\r\n", run_imap},
    {"imap-enable", IN "a ENABLE", " CONDSTORE", "\r\n", run_imap},
    {"imap-idle", IN, "a IDLE\r\nDONE\r\n", "", run_imap},
    {"imap-select", LOGIN, "a SELECT INBOX\r\n", "", run_imap},
    {"imap-set-commas", IN "a FETCH 1", ",1", " UID\r\n", run_imap},
    {"imap-set-ranges", IN "a FETCH 1", ",3:1", " UID\r\n", run_imap},
    {"imap-set-stars", IN "a UID FETCH *", ",*:1", " UID\r\n", run_imap},
    {"imap-set-down", IN "a UID FETCH 9", ",9,7,5", " UID\r\n", run_imap},
    {"imap-fetch-items", IN "a FETCH 1 (UID", " BODY.PEEK[1.2]<0.1>", ")\r\n", run_imap},
    {"imap-fetch-fields", IN "a FETCH 1 BODY.PEEK[HEADER.FIELDS (a", " b", ")]\r\n", run_imap},
    {"imap-fetch-section", IN "a FETCH 1 BODY.PEEK[1", ".1", "]\r\n", run_imap},
    {"imap-fetch-again", IN, "a FETCH 1 UID\r\n", "", run_imap},
    {"imap-search-not", IN "a SEARCH", " NOT", " ALL\r\n", run_imap},
    {"imap-search-or", IN "a SEARCH", " OR", " ALL ALL\r\n", run_imap},
    {"imap-search-or-all", IN "a SEARCH", " OR ALL", " ALL\r\n", run_imap},
    {"imap-search-open", IN "a SEARCH ", "(", "ALL\r\n", run_imap},
    {"imap-search-keys", IN "a SEARCH", " SEEN", "\r\n", run_imap},
    {"imap-search-headers", IN "a SEARCH", " HEADER a b", "\r\n", run_imap},
    {"imap-search-bodies", IN "a SEARCH", " NOT BODY zz", "\r\n", run_imap},
    {"imap-search-needle", IN "a SEARCH BODY \"", "ab ", "\"\r\n", run_imap},
    {"imap-search-sets", IN "a SEARCH", " 1:3,2", "\r\n", run_imap},
    {"imap-search-dates", IN "a SEARCH", " SINCE 1-Jan-2020", "\r\n", run_imap},
    {"imap-sort", IN "a SORT (", "REVERSE SUBJECT ", "ARRIVAL) UTF-8 ALL\r\n", run_imap},
    {"imap-esearch-mailboxes", IN "a ESEARCH IN (mailboxes (", "INBOX ", "Work)) ALL\r\n", run_imap},
    {"imap-store-keywords", IN "a STORE 1 +FLAGS (", "k ", "l)\r\n", run_imap},
    {"imap-list-percent", IN "a LIST \"\" \"", "%", "\"\r\n", run_imap},
    {"imap-list-stars", IN "a LIST \"\" \"", "*O", "\"\r\n", run_imap},
    {"imap-list-patterns", IN "a LIST \"\" (", "*X ", "%)\r\n", run_imap},
    {"imap-list-utf7", IN "a LIST \"\" \"", "&AOk-", "\"\r\n", run_imap},
    {"imap-list-quoted-pairs", IN "a LIST \"\" \"", "\\\\", "\"\r\n", run_imap},
    {"imap-create-levels", IN "a CREATE \"x", "/a", "\"\r\n", run_imap},
    {"imap-status", IN "a STATUS INBOX (", "MESSAGES ", "UNSEEN)\r\n", run_imap},
    {"imap-append-flags", IN "a APPEND INBOX (", "k ", "l) {1+}\r\nx\r\n", run_imap},
    {"imap-append-many", IN "a APPEND INBOX", " {1+}\r\nx", "\r\n", run_imap},
    {"imap-catenate-texts", IN "a APPEND INBOX CATENATE (TEXT {1+}\r\nx", " TEXT {1+}\r\nx", ")\r\n",
     run_imap},
    {"imap-catenate-urls", URL "/INBOX/;UID=1\"", " URL \"/INBOX/;UID=1/;SECTION=1\"", ")\r\n", run_imap},
    {"imap-url-escapes", URL "/", "%41", "/;UID=1\")\r\n", run_imap},
    {"imap-url-broken-escapes", URL "/", "%", "/;UID=1\")\r\n", run_imap},
    {"imap-url-slashes", URL, "/", ";UID=1\")\r\n", run_imap},
    {"imap-url-parameters", URL "/INBOX/;UID=1", "/;SECTION=1", "\")\r\n", run_imap},
    {"imap-metadata-set", IN "a SETMETADATA INBOX (", "/private/comment NIL ", "/private/c NIL)\r\n",
     run_imap},
    {"imap-metadata-get", IN "a GETMETADATA INBOX (", "/private/comment ", "/private/c)\r\n", run_imap},
    {"imap-metadata-levels", IN "a GETMETADATA INBOX /private", "/c", "\r\n", run_imap},
    {"imap-acl-rights", IN "a SETACL INBOX ann ", "lr", "\r\n", run_imap},
    {"imap-notify-groups", IN "a NOTIFY SET", " (inboxes (MessageNew MessageExpunge))", "\r\n", run_imap},
    {"imap-notify-mailboxes", IN "a NOTIFY SET (mailboxes (", "INBOX ",
     "Work) (MessageNew MessageExpunge))\r\n", run_imap},
    {"imap-quota", IN "a GETQUOTAROOT \"", "x", "\"\r\n", run_imap},
};

static const struct growth_table growth_imap = {cases, sizeof(cases) / sizeof(cases[0])};
void (*const growth_prepare)(void) = prepare;
const struct growth_table *const growth_tables[] = {&growth_imap};
const size_t growth_table_count = 1;
