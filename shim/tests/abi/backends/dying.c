// SoftHSM2, but C_InitToken ends the process where the variable BACKEND_DIES says: before or after the token has changed.
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long U;
typedef U (*InitToken)(U, unsigned char *, U, unsigned char *);

enum { GENERAL_ERROR = 5, STATUS = 77 };

// CK_FUNCTION_LIST: a version, and 68 functions in the order of the specification.
enum { ENTRIES = 68, INIT_TOKEN = 9 };

static void *inner[1 + ENTRIES], *list[1 + ENTRIES];

static int dies(const char *moment) {
    const char *when = getenv("BACKEND_DIES");
    return when && !strcmp(when, moment);
}

static U init_token(U slot, unsigned char *pin, U length, unsigned char *label) {
    if (dies("before")) _exit(STATUS);
    U rv = ((InitToken)inner[1 + INIT_TOKEN])(slot, pin, length, label);
    if (dies("after")) _exit(STATUS);
    return rv;
}

__attribute__((visibility("default"))) U C_GetFunctionList(void **answer) {
    void *library = dlopen(SOFTHSM, RTLD_NOW);
    U (*get)(void **) = library ? dlsym(library, "C_GetFunctionList") : 0;
    void *found;
    if (!get || get(&found)) return GENERAL_ERROR;
    memcpy(inner, found, sizeof inner);
    memcpy(list, found, sizeof list);
    list[1 + INIT_TOKEN] = init_token;
    *answer = list;
    return 0;
}
