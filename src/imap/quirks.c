/*
 * What clients send that the grammar does not have, and what is made of it; all in one place. Each has a test in
 * tests/e2e/test_imap_quirks.py, with habits that are within the grammar but have broken other servers.
 *
 *   an empty line        Outlook and older mobile clients end the literal of an APPEND with a line break too many.
 *   DONE outside of IDLE Apple Mail and Thunderbird send it when the IDLE has ended already: with an answer to it they take
 *                        the next command's for one too late.
 *   spaces at the end    Several mobile clients, and scripts, write "NOOP " or "FETCH 1 (FLAGS) ".
 */
#include "imap/server_private.h"

bool imap_quirk_is_no_command(struct str line)
{
    return line.len == 0 || str_equal_nocase(line, STR("DONE"));
}

struct str imap_quirk_trim(struct str text, size_t line_at)
{
    while (text.len > line_at && text.data[text.len - 1] == ' ') {
        text.len--;
    }
    return text;
}
