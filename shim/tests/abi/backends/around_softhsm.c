// SoftHSM2 (the file SOFTHSM) with some functions of our own, wrong in the way that a macro names:
//   ANY_KEY  C_SignInit and C_VerifyInit begin an operation whatever the key's handle is, 0 too
//   DYING    C_InitToken ends the process where the variable BACKEND_DIES says: before or after the token has changed
//   FLICKERING  C_GetTokenInfo takes the token for uninitialised, cannot read it, and is right, in turn: as SoftHSM2
//               itself does for a moment while another process logs in
//   LOGINS   calls of C_Login are counted in the variable logins
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long U;
typedef unsigned char B;

enum { OK = 0, GENERAL_ERROR = 5, OPERATION_ACTIVE = 0x90 };

// CK_FUNCTION_LIST: a version, and 68 functions in the order of the specification.
enum { ENTRIES = 68, TOKEN_INFO = 6, INIT_TOKEN = 9, LOGIN = 18, SIGN_INIT = 42, SIGN = 43, VERIFY_INIT = 48, VERIFY = 49 };

static void *inner[1 + ENTRIES], *list[1 + ENTRIES];

#ifdef ANY_KEY
static int signs, verifies;

static U begin(int *active, int entry, U session, void *mechanism, U key) {
    if (*active) return OPERATION_ACTIVE;
    if (key) return ((U (*)(U, void *, U))inner[1 + entry])(session, mechanism, key);
    *active = 1;
    return OK;
}

static U end(int *active, int entry, U session, B *data, U length, B *signature, U *room) {
    if (!*active) return ((U (*)(U, B *, U, B *, U *))inner[1 + entry])(session, data, length, signature, room);
    *active = 0;
    return OK;
}

static U sign_init(U session, void *mechanism, U key) { return begin(&signs, SIGN_INIT, session, mechanism, key); }
static U verify_init(U session, void *mechanism, U key) { return begin(&verifies, VERIFY_INIT, session, mechanism, key); }
static U sign(U s, B *data, U length, B *signature, U *room) { return end(&signs, SIGN, s, data, length, signature, room); }
// C_Verify takes the signature's length where C_Sign takes a pointer to it.
static U verify(U s, B *data, U length, B *signature, U *given) {
    return end(&verifies, VERIFY, s, data, length, signature, given);
}
#endif

#ifdef DYING
static int dies(const char *moment) {
    const char *when = getenv("BACKEND_DIES");
    return when && !strcmp(when, moment);
}

static U init_token(U slot, B *pin, U length, B *label) {
    if (dies("before")) _exit(77);
    U rv = ((U (*)(U, B *, U, B *))inner[1 + INIT_TOKEN])(slot, pin, length, label);
    if (dies("after")) _exit(77);
    return rv;
}
#endif

#ifdef FLICKERING
// CK_TOKEN_INFO, up to its flags.
typedef struct { B texts[32 + 32 + 16 + 16]; U flags; } TokenInfo;

static U token_info(U slot, TokenInfo *info) {
    static int calls;
    U rv = ((U (*)(U, TokenInfo *))inner[1 + TOKEN_INFO])(slot, info);
    int turn = calls++ % 3;
    if (rv == OK && turn == 0) info->flags &= ~0x400ul;
    return turn == 1 ? GENERAL_ERROR : rv;
}
#endif

#ifdef LOGINS
__attribute__((visibility("default"))) int logins;

static U login(U session, U user, B *pin, U length) {
    logins++;
    return ((U (*)(U, U, B *, U))inner[1 + LOGIN])(session, user, pin, length);
}
#endif

__attribute__((visibility("default"))) U C_GetFunctionList(void **answer) {
    void *library = dlopen(SOFTHSM, RTLD_NOW);
    U (*get)(void **) = library ? dlsym(library, "C_GetFunctionList") : 0;
    void *found;
    if (!get || get(&found)) return GENERAL_ERROR;
    memcpy(inner, found, sizeof inner);
    memcpy(list, found, sizeof list);
#ifdef ANY_KEY
    list[1 + SIGN_INIT] = sign_init;
    list[1 + SIGN] = sign;
    list[1 + VERIFY_INIT] = verify_init;
    list[1 + VERIFY] = verify;
#endif
#ifdef FLICKERING
    list[1 + TOKEN_INFO] = token_info;
#endif
#ifdef DYING
    list[1 + INIT_TOKEN] = init_token;
#endif
#ifdef LOGINS
    list[1 + LOGIN] = login;
#endif
    *answer = list;
    return OK;
}
