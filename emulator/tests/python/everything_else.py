"""The rest of the vendor's client: LED, accelerometer, perimeter, clock, binding, monitors, supervised boot."""

import os
import tempfile
import time

import zymkey
from zymkey.exceptions import ZymkeyTimeoutError

client = zymkey.client


def refused(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except AssertionError:
        return True
    return False


client.led_on()
client.led_off()
client.led_flash(100, 200, 3)

assert len(client.get_random(64)) == 64 and client.get_random(64) != client.get_random(64)
with tempfile.TemporaryDirectory() as directory:
    path = os.path.join(directory, "random")
    client.create_random_file(path, 1000)
    assert os.path.getsize(path) == 1000

    client.set_supervised_boot_policy(2)
    assert refused(client.set_supervised_boot_policy, 3)
    client.add_or_update_supervised_boot_file(path, 15)
    assert path in client.get_supervised_boot_file_manifest()
    client.remove_supervised_boot_file(path)
    assert client.get_supervised_boot_file_manifest() == ""
    assert refused(client.remove_supervised_boot_file, path)
    assert refused(client.add_or_update_supervised_boot_file, path + ".missing", 15)

assert abs(client.get_time() - time.time()) < 2
begin = time.time()
assert client.get_time(precise=True) >= int(begin) + 1

assert client.get_model_number() == "SCM"
assert client.get_firmware_version() == "01.02.02release"
assert client.get_serial_number() == os.environ["SERIAL"]
assert 0 < client.get_cpu_temp() < 100 and 0 < client.get_aux_temp() < 100
assert 2.5 < client.get_batt_volt() < 4 and abs(client.get_rtc_drift()) < 1

x, y, z = client.get_accelerometer_data()
assert (x.g_force, y.g_force, z.g_force, z.tap_dir) == (0.0, 0.0, 1.0, 0)
client.set_tap_sensitivity("all", 40.0)
client.set_tap_sensitivity("x", 100.0)
assert refused(client.set_tap_sensitivity, "y", 101.0)
for wait in (client.wait_for_tap, client.wait_for_perimeter_event):
    begin = time.time()
    try:
        wait(timeout_ms=150)
        raise SystemExit("something happened")
    except ZymkeyTimeoutError:
        assert 0.14 < time.time() - begin < 2

client.set_perimeter_event_actions(0, action_notify=True, action_self_destruct=False)
assert refused(client.set_perimeter_event_actions, 2)
client.set_digital_perimeter_lp_period(1000)
client.set_digital_perimeter_lp_max_bits(3)
client.set_digital_perimeter_delays(10, 20)
assert refused(client.set_digital_perimeter_delays, 20, 10)
assert client.get_perimeter_detect_info() == [0, 0]
assert os.system(f"{os.environ['EMULATOR']} breach 1") == 0
assert client.get_perimeter_detect_info()[0] == 0 and client.get_perimeter_detect_info()[1] > 1_600_000_000
client.clear_perimeter_detect_info()
assert client.get_perimeter_detect_info() == [0, 0]

client.set_battery_voltage_action(sleep=True)
client.set_battery_voltage_threshold(2.4)
assert refused(client.set_battery_voltage_threshold, 2.6)
client.set_cpu_temp_action(self_destruct=True)
client.set_cpu_low_temp_threshold(-5.0)
client.set_cpu_high_temp_threshold(70.0)

client.set_i2c_address(0x67)
assert refused(client.set_i2c_address, 0x50)

assert client.get_current_binding_info() == (False, True)
client.lock_binding()
assert client.get_current_binding_info() == (True, True)

# Every function that the client looks up is there: a missing one would have silently ended the list.
assert all(hasattr(client, f"_{name}") for name in ("zkGenKeyPair", "zkGetSupervisedBootFileManifest"))
