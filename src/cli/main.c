/*
 * The entry point: finds the command in the table of commands.c and runs it. A role's process comes through here too, so
 * nothing is read, opened or loaded before `role` has been recognised.
 */
#include "cli/command.h"
#include "roles/role.h"

int main(int argc, char **argv)
{
    if (argc >= 2 && strcmp(argv[1], "role") == 0) {
        return role_main(argc - 2, argv + 2);
    }
    return cli_run(argc - 1, argv + 1);
}
