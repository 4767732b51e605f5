// Signs a file with a key of a PKCS#11 token: Sign.java CONFIGURATION ALIAS FILE SIGNATURE CERTIFICATE
// The PIN is in the environment variable HARNESS_PIN.

import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.Provider;
import java.security.Security;
import java.security.Signature;

public class Sign {
    public static void main(String[] arguments) throws Exception {
        Provider provider = Security.getProvider("SunPKCS11").configure(arguments[0]);
        KeyStore store = KeyStore.getInstance("PKCS11", provider);
        store.load(null, System.getenv("HARNESS_PIN").toCharArray());
        PrivateKey key = (PrivateKey) store.getKey(arguments[1], null);
        Signature signature = Signature.getInstance("SHA256withECDSA", provider);
        signature.initSign(key);
        signature.update(Files.readAllBytes(Path.of(arguments[2])));
        Files.write(Path.of(arguments[3]), signature.sign());
        Files.write(Path.of(arguments[4]), store.getCertificate(arguments[1]).getEncoded());
    }
}
