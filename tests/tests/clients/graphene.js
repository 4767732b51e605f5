// Signs a file with the token's P-256 key of ID 01, and makes the key if there is none:
//
//     node graphene.js MODULE DATA SIGNATURE      with the PIN in HARNESS_PIN, graphene-pk11 in NODE_PATH
"use strict";

const fs = require("fs");
const graphene = require("graphene-pk11");

const [, , library, dataFile, signatureFile] = process.argv;
const id = Buffer.from([1]);

const module_ = graphene.Module.load(library, "Holdfast");
module_.initialize();
try {
  const session = module_.getSlots(0).open(graphene.SessionFlag.SERIAL_SESSION | graphene.SessionFlag.RW_SESSION);
  session.login(process.env.HARNESS_PIN);
  const key = (type) => session.find({ class: type, id }).items(0).toType();
  if (session.find({ class: graphene.ObjectClass.PRIVATE_KEY, id }).length === 0) {
    const common = { id, label: "graphene", token: true, keyType: graphene.KeyType.ECDSA };
    session.generateKeyPair(
      graphene.KeyGenMechanism.ECDSA,
      { ...common, verify: true, paramsECDSA: graphene.NamedCurve.getByName("secp256r1").value },
      { ...common, private: true, sensitive: true, sign: true },
    );
  }
  const data = fs.readFileSync(dataFile);
  const signature = session.createSign("ECDSA_SHA256", key(graphene.ObjectClass.PRIVATE_KEY)).once(data);
  if (!session.createVerify("ECDSA_SHA256", key(graphene.ObjectClass.PUBLIC_KEY)).once(data, signature)) {
    throw new Error("the module does not verify its own signature");
  }
  fs.writeFileSync(signatureFile, signature);
  for (const type of [graphene.ObjectClass.PUBLIC_KEY, graphene.ObjectClass.PRIVATE_KEY]) {
    const found = session.find({ class: type }).items(0).toType();
    console.log(graphene.ObjectClass[type], found.label, found.id.toString("hex"));
  }
  session.logout();
  session.close();
} finally {
  module_.finalize();
}
