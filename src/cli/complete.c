/* SPDX-License-Identifier: MIT
 *
 * complete.c: completion scripts for bash, zsh and fish, from the commands' tables.
 *
 * The scripts hold the tables as they are in this program: completing starts no process.  They offer commands, options,
 * the words that an option takes, files by their endings, and nothing where any text will do.
 *
 * bash's script works from version 3.2 on (macOS) and without the bash-completion package.
 */
#include <string.h>

#include "cli/tables.h"

enum { WORDS_MAX = 512 };

/* Names of all commands, spaces between. */
static void add_commands(sm_str *out) {
    for (int i = 0; i < n_commands; i++)
        sm_str_addf(out, "%s%s", i ? " " : "", commands[i]->name);
}

static bool is_endings(const char *pos) {
    return *pos == '.';
}

/* Text inside single quotes; `more` names further characters that get a backslash. */
static void add_quoted(sm_str *out, const char *text, const char *more) {
    for (const char *p = text; *p; p++) {
        if (*p == '\'') {
            sm_str_adds(out, "'\\''");
            continue;
        }
        if (*p != '\n' && strchr(more, *p))
            sm_str_addc(out, '\\');
        sm_str_addc(out, *p == '\n' ? ' ' : *p);
    }
}

/* ------------------------------------------------------------------ bash */
static const char bash_head[] = "# bash completion for smelt, made by `smelt completions bash`.\n"
                                "_smelt_words() { # WORDS CURRENT\n"
                                "    COMPREPLY=($(compgen -W \"$1\" -- \"$2\"))\n"
                                "}\n"
                                "_smelt_files() { # CURRENT [ENDING...]\n"
                                "    local cur=$1 IFS=$'\\n' ending\n"
                                "    shift\n"
                                "    compopt -o filenames 2>/dev/null\n"
                                "    if [ $# = 0 ]; then\n"
                                "        COMPREPLY=($(compgen -f -- \"$cur\"))\n"
                                "        return\n"
                                "    fi\n"
                                "    COMPREPLY=($(compgen -d -- \"$cur\"))\n"
                                "    for ending; do\n"
                                "        COMPREPLY+=($(compgen -f -X \"!*$ending\" -- \"$cur\" | while read -r f; do [ "
                                "-d \"$f\" ] || echo \"$f\"; done))\n"
                                "    done\n"
                                "}\n"
                                "_smelt() {\n"
                                "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
                                "    # --name=value comes as three words\n"
                                "    if [ \"$cur\" = \"=\" ]; then\n"
                                "        cur=\n"
                                "    elif [ \"$prev\" = \"=\" ]; then\n"
                                "        prev=${COMP_WORDS[COMP_CWORD-2]}\n"
                                "    fi\n"
                                "    COMPREPLY=()\n";

/* One case of `case command:previous in`. */
static void bash_value(const command *c, const opt *o, sm_str *out) {
    char words[WORDS_MAX];
    opt_value kind = opts_value(o, words, sizeof words);
    if (kind == VALUE_NONE)
        return;
    sm_str_addf(out, "    %s:--%s", c->name, o->name);
    if (o->letter)
        sm_str_addf(out, " | %s:-%c", c->name, o->letter);
    sm_str_adds(out, ")\n");
    if (kind == VALUE_WORDS)
        sm_str_addf(out, "        _smelt_words '%s' \"$cur\"\n", words);
    else if (kind == VALUE_FILE)
        sm_str_addf(out, "        _smelt_files \"$cur\" %s\n", words);
    else if (kind == VALUE_DIR)
        sm_str_adds(out, "        compopt -o filenames 2>/dev/null\n"
                         "        COMPREPLY=($(compgen -d -- \"$cur\"))\n");
    sm_str_adds(out, "        return\n        ;;\n");
}

static void bash_command(const command *c, sm_str *out) {
    sm_str_addf(out, "    %s)\n        if [ \"${cur#-}\" != \"$cur\" ]; then\n            _smelt_words '", c->name);
    for (size_t i = 0; opts_at(c, i); i++)
        sm_str_addf(out, "%s--%s", i ? " " : "", opts_at(c, i)->name);
    sm_str_adds(out, "' \"$cur\"\n");
    if (c->pos) {
        sm_str_adds(out, "        else\n            ");
        if (is_endings(c->pos)) {
            sm_str_addf(out, "_smelt_files \"$cur\" %s\n", c->pos);
        } else {
            sm_str_adds(out, "_smelt_words '");
            if (strcmp(c->pos, "@commands") == 0)
                add_commands(out);
            else
                sm_str_adds(out, c->pos);
            sm_str_adds(out, "' \"$cur\"\n");
        }
    }
    sm_str_adds(out, "        fi\n        ;;\n");
}

static void bash_script(sm_str *out) {
    sm_str_adds(out, bash_head);
    sm_str_adds(out, "    if [ \"$COMP_CWORD\" = 1 ]; then\n        _smelt_words '");
    add_commands(out);
    sm_str_adds(out, " --help --version' \"$cur\"\n        return\n    fi\n    case ${COMP_WORDS[1]}:$prev in\n");
    for (int i = 0; i < n_commands; i++)
        for (size_t k = 0; opts_at(commands[i], k); k++)
            bash_value(commands[i], opts_at(commands[i], k), out);
    sm_str_adds(out, "    esac\n    case ${COMP_WORDS[1]} in\n");
    for (int i = 0; i < n_commands; i++)
        bash_command(commands[i], out);
    sm_str_adds(out, "    esac\n}\ncomplete -F _smelt smelt\n");
}

/* ------------------------------------------------------------------ zsh */
/* ".gguf .mlpackage" -> _files -g "*.(gguf|mlpackage)"; brackets round one ending would be a glob qualifier. */
static void zsh_files(const char *endings, sm_str *out) {
    bool several = strchr(endings, ' ') != NULL;
    sm_str_adds(out, "_files");
    if (!*endings)
        return;
    sm_str_adds(out, several ? " -g \"*.(" : " -g \"*.");
    for (const char *p = endings + 1; *p; p++)
        if (*p != '.')
            sm_str_addc(out, *p == ' ' ? '|' : *p);
    sm_str_adds(out, several ? ")\"" : "\"");
}

/* '(-n --predict)'{-n+,--predict=}'[help]:N: ' */
static void zsh_option(const opt *o, sm_str *out) {
    char words[WORDS_MAX];
    opt_value kind = opts_value(o, words, sizeof words);
    sm_str_adds(out, "            ");
    if (o->kind == OPT_STRS)
        sm_str_adds(out, "'*'");
    else if (o->letter)
        sm_str_addf(out, "'(-%c --%s)'", o->letter, o->name);
    if (o->letter)
        sm_str_addf(out, "{-%c%s,--%s%s}", o->letter, kind ? "+" : "", o->name, kind ? "=" : "");
    else
        sm_str_addf(out, "--%s%s", o->name, kind ? "=" : "");
    sm_str_adds(out, "'[");
    add_quoted(out, o->help, "[]\\:");
    sm_str_addc(out, ']');
    if (kind != VALUE_NONE) {
        sm_str_addc(out, ':');
        add_quoted(out, o->arg, "[]\\:");
        sm_str_addc(out, ':');
        if (kind == VALUE_WORDS)
            sm_str_addf(out, "(%s)", words);
        else if (kind == VALUE_FILE)
            zsh_files(words, out);
        else
            sm_str_adds(out, kind == VALUE_DIR ? "_files -/" : " ");
    }
    sm_str_adds(out, "' \\\n");
}

static void zsh_command(const command *c, sm_str *out) {
    sm_str_addf(out, "    %s)\n        _arguments -s \\\n", c->name);
    for (size_t i = 0; opts_at(c, i); i++)
        zsh_option(opts_at(c, i), out);
    sm_str_adds(out, "            ");
    if (!c->pos) {
        sm_str_adds(out, "&& return 0\n        ;;\n");
        return;
    }
    sm_str_adds(out, "'*:argument:");
    if (is_endings(c->pos)) {
        zsh_files(c->pos, out);
    } else {
        sm_str_addc(out, '(');
        if (strcmp(c->pos, "@commands") == 0)
            add_commands(out);
        else
            sm_str_adds(out, c->pos);
        sm_str_addc(out, ')');
    }
    sm_str_adds(out, "' && return 0\n        ;;\n");
}

static void zsh_script(sm_str *out) {
    sm_str_adds(out, "#compdef smelt\n# zsh completion for smelt, made by `smelt completions zsh`.\n"
                     "_smelt() {\n    local -a commands\n    commands=(\n");
    for (int i = 0; i < n_commands; i++) {
        sm_str_addf(out, "        '%s:", commands[i]->name);
        add_quoted(out, commands[i]->summary, "");
        sm_str_adds(out, "'\n");
    }
    sm_str_adds(out, "    )\n    if (( CURRENT == 2 )); then\n"
                     "        _describe -t commands 'command' commands\n        return\n    fi\n"
                     "    local command=$words[2]\n    shift words\n    (( CURRENT-- ))\n    case $command in\n");
    for (int i = 0; i < n_commands; i++)
        zsh_command(commands[i], out);
    sm_str_adds(out,
                "    esac\n    return 1\n}\n"
                "if [ \"$funcstack[1]\" = _smelt ]; then\n    _smelt \"$@\"\nelse\n    compdef _smelt smelt\nfi\n");
}

/* ------------------------------------------------------------------ fish */
static void fish_files(const char *endings, sm_str *out) {
    sm_str_addf(out, "(__fish_complete_suffix %s)", endings);
}

static void fish_option(const command *c, const opt *o, sm_str *out) {
    char words[WORDS_MAX];
    sm_str_addf(out, "complete -c smelt -n '__fish_seen_subcommand_from %s'", c->name);
    if (o->letter)
        sm_str_addf(out, " -s %c", o->letter);
    sm_str_addf(out, " -l %s -d '", o->name);
    add_quoted(out, o->help, "");
    sm_str_addc(out, '\'');
    switch (opts_value(o, words, sizeof words)) {
    case VALUE_NONE:
        break;
    case VALUE_TEXT:
        sm_str_adds(out, " -x");
        break;
    case VALUE_WORDS:
        sm_str_addf(out, " -x -a '%s'", words);
        break;
    case VALUE_FILE:
        if (*words) {
            sm_str_adds(out, " -k -x -a '");
            fish_files(words, out);
            sm_str_addc(out, '\'');
        } else {
            sm_str_adds(out, " -r -F");
        }
        break;
    case VALUE_DIR:
        sm_str_adds(out, " -x -a '(__fish_complete_directories)'");
        break;
    }
    sm_str_addc(out, '\n');
}

static void fish_command(const command *c, sm_str *out) {
    sm_str_addf(out, "complete -c smelt -n __fish_use_subcommand -a %s -d '", c->name);
    add_quoted(out, c->summary, "");
    sm_str_adds(out, "'\n");
    for (size_t i = 0; opts_at(c, i); i++)
        fish_option(c, opts_at(c, i), out);
    if (!c->pos)
        return;
    sm_str_addf(out, "complete -c smelt -k -n '__fish_seen_subcommand_from %s' -a '", c->name);
    if (is_endings(c->pos))
        fish_files(c->pos, out);
    else if (strcmp(c->pos, "@commands") == 0)
        add_commands(out);
    else
        sm_str_adds(out, c->pos);
    sm_str_adds(out, "'\n");
}

static void fish_script(sm_str *out) {
    sm_str_adds(out, "# fish completion for smelt, made by `smelt completions fish`.\ncomplete -c smelt -f\n"
                     "complete -c smelt -n __fish_use_subcommand -l help -d 'the commands'\n"
                     "complete -c smelt -n __fish_use_subcommand -l version -d 'version of the program'\n");
    for (int i = 0; i < n_commands; i++)
        fish_command(commands[i], out);
}

bool cli_completions(const char *shell, sm_str *out) {
    static const struct {
        const char *shell;
        void (*make)(sm_str *out);
    } makers[] = {{"bash", bash_script}, {"zsh", zsh_script}, {"fish", fish_script}};
    for (size_t i = 0; i < SM_ARRAY_LEN(makers); i++)
        if (strcmp(makers[i].shell, shell) == 0) {
            makers[i].make(out);
            return true;
        }
    return false;
}
