/* A library with the vendor's ABI whose answers are wrong as the macros say. Without any, they are right in form. */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef void *zkCTX;

/* The generator of P-256. */
static const uint8_t G[64] = {
    0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40, 0xf2,
    0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96,
    0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e, 0x16,
    0x2b, 0xce, 0x33, 0x57, 0x6b, 0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51, 0xf5,
};

/* How large the memory of a reply is, and the size that is said. */
#ifndef MEMORY
#define MEMORY 64
#endif
#ifndef SIZE
#define SIZE 64
#endif
#ifndef TEXT
#define TEXT "FAKE"
#endif
#ifndef PATH
#define PATH "m/0'"
#endif
#ifndef NAME
#define NAME "wallet"
#endif
#ifndef MASTER
#define MASTER 16
#endif
#ifndef SLOT
#define SLOT 17
#endif
#ifndef CAPACITY
#define CAPACITY 512
#endif
#ifndef SLOTS
#define SLOTS 16, 17
#endif
#ifndef MNEMONIC
#define MNEMONIC \
    "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon " \
    "abandon abandon abandon abandon abandon abandon abandon abandon abandon art"
#endif
#ifndef ANSWER
#define ANSWER 0
#endif

/* Calls are written to the file that TRACE names, unless QUIET. */
static void trace(const char *call) {
#ifndef QUIET
    FILE *file = fopen(TRACE, "a");
    if (file) {
        fprintf(file, "%d %s\n", (int)getpid(), call);
        fclose(file);
    }
#else
    (void)call;
#endif
}

static void *reply(const void *bytes, size_t length) {
#ifdef NULLS
    (void)bytes, (void)length;
    return NULL;
#elif defined(MISALIGNED)
    return (char *)malloc(MEMORY) + 1;
#else
    uint8_t *memory = malloc(MEMORY);
    memset(memory, 0, MEMORY);
#ifndef ZEROS
    memcpy(memory, bytes, length < MEMORY ? length : MEMORY);
#endif
    return memory;
#endif
}

static char *text(const char *text) {
#ifdef NULLS
    (void)text;
    return NULL;
#elif defined(UNENDING)
    char *memory = malloc(UNENDING);
    memset(memory, 'a', UNENDING);
    return memory;
#else
    return strdup(text);
#endif
}

int zkOpen(zkCTX *ctx) {
    static int context;
    trace("zkOpen");
#ifdef OPEN_AFTER
    /* Fails until the file is there. */
    if (access(OPEN_AFTER, F_OK) != 0) return -1;
#endif
#ifdef NO_CONTEXT
    (void)context;
    *ctx = NULL;
#else
    *ctx = &context;
#endif
    return ANSWER;
}

int zkClose(zkCTX ctx) { (void)ctx; trace("zkClose"); return 0; }

int zkGetModelNumberString(zkCTX ctx, char **s) { (void)ctx; *s = text(TEXT); return ANSWER; }
int zkGetFirmwareVersionString(zkCTX ctx, char **s) { (void)ctx; *s = text(TEXT); return ANSWER; }

int zkGetSerialNumberString(zkCTX ctx, char **s) {
    (void)ctx;
    trace("zkGetSerialNumberString");
#ifdef DEAD
    return -1;
#else
    *s = text(TEXT);
    return 0;
#endif
}

int zkGenECDSASigFromDigest(zkCTX ctx, const uint8_t *digest, int slot, uint8_t **sig, int *sig_sz) {
    (void)ctx, (void)digest, (void)slot;
    trace("zkGenECDSASigFromDigest");
#ifdef DEAD
    /* What stands in the results of a call that failed means nothing. */
    *sig = (uint8_t *)(uintptr_t)0xdead0000;
    return -1;
#endif
#ifdef STALL
    usleep(STALL * 1000);
#endif
    *sig = reply(G, 64);
    *sig_sz = SIZE;
    return ANSWER;
}

int zkDoRawECDH(zkCTX ctx, int slot, const uint8_t *peer, int peer_sz, uint8_t **secret) {
    (void)ctx, (void)slot, (void)peer;
    if (peer_sz != 64) return -1;
    *secret = reply(G, 32);
    return ANSWER;
}

int zkExportPubKey(zkCTX ctx, uint8_t **pk, int *pk_sz, int slot, bool foreign) {
    (void)ctx, (void)slot, (void)foreign;
    trace("zkExportPubKey");
    uint8_t key[64];
    memcpy(key, G, 64);
#ifdef OFF_CURVE
    key[63] ^= 1;
#endif
    *pk = reply(key, 64);
    *pk_sz = SIZE;
    return ANSWER;
}

int zkGetAllocSlotsList(zkCTX ctx, bool foreign, int *max, int **list, int *list_sz) {
    (void)ctx, (void)foreign;
    trace("zkGetAllocSlotsList");
    static const int slots[] = {SLOTS};
    (void)slots;
    *max = CAPACITY;
#ifdef NO_SLOTS
    *list = NULL;
    *list_sz = 0;
#else
    *list = malloc(sizeof slots);
    memcpy(*list, slots, sizeof slots);
    *list_sz = sizeof slots / sizeof *slots;
#ifdef LIST_SIZE
    *list_sz = LIST_SIZE;
#endif
#ifdef NULLS
    free(*list);
    *list = NULL;
#endif
#endif
    return ANSWER;
}

int zkGenWalletMasterSeedWithBIP39(zkCTX ctx, int type, const char *variant, const char *name, const uint8_t *mgk,
                                   int mgk_sz, const char *passphrase, char **mnemonic) {
    (void)ctx, (void)type, (void)variant, (void)name, (void)mgk, (void)mgk_sz;
    trace("zkGenWalletMasterSeedWithBIP39");
#ifdef DEAD
    return -1;
#endif
    trace(passphrase);
    if (mnemonic) *mnemonic = text(MNEMONIC);
    return SLOT;
}

int zkGenWalletChildKey(zkCTX ctx, int parent, uint32_t index, bool hardened, bool chain, uint8_t **code) {
    (void)ctx, (void)parent, (void)index, (void)hardened, (void)chain, (void)code;
    return SLOT;
}

int zkGetWalletNodeAddrFromKeySlot(zkCTX ctx, int slot, char **addr, char **name, int *master) {
    (void)ctx, (void)slot;
    *addr = text(PATH);
#ifdef SAME
    *name = *addr;
#else
    *name = text(NAME);
#endif
    *master = MASTER;
    return ANSWER;
}

int zkGetWalletKeySlotFromNodeAddr(zkCTX ctx, const char *addr, const char *name, int master, int *slot) {
    (void)ctx, (void)addr, (void)name, (void)master;
#ifndef UNSET
    *slot = SLOT;
#endif
    return ANSWER;
}

#ifndef WITHOUT_REMOVE
int zkRemoveKey(zkCTX ctx, int slot, bool foreign) { (void)ctx, (void)slot, (void)foreign; return ANSWER; }
#endif
