/* SoftHSM2, but no object is created without login: what some modules demand, and SoftHSM2 does not. */
#include <dlfcn.h>
#include <stddef.h>

#define FUNCTIONS 68
enum { GET_SESSION_INFO = 15, CREATE_OBJECT = 20 };

typedef unsigned long CK_RV;
struct session_info { unsigned long slot, state, flags, error; };
struct list { unsigned char version[2]; void *function[FUNCTIONS]; };

static struct list ours;
static struct list *theirs;

static CK_RV create_object(unsigned long session, void *attributes, unsigned long count, unsigned long *object)
{
    struct session_info info;
    CK_RV (*get_session_info)(unsigned long, struct session_info *) = theirs->function[GET_SESSION_INFO];
    CK_RV (*create)(unsigned long, void *, unsigned long, unsigned long *) = theirs->function[CREATE_OBJECT];
    CK_RV rv = get_session_info(session, &info);
    if (rv != 0)
        return rv;
    if (info.state != 3) /* CKS_RW_USER_FUNCTIONS */
        return 0x101;    /* CKR_USER_NOT_LOGGED_IN */
    return create(session, attributes, count, object);
}

CK_RV C_GetFunctionList(struct list **out)
{
    void *library = dlopen(SOFTHSM, RTLD_LAZY | RTLD_LOCAL);
    CK_RV (*get)(struct list **);
    if (library == NULL || (get = dlsym(library, "C_GetFunctionList")) == NULL || get(&theirs) != 0)
        return 5; /* CKR_GENERAL_ERROR */
    ours = *theirs;
    ours.function[CREATE_OBJECT] = create_object;
    *out = &ours;
    return 0;
}
