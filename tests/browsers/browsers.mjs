// How the two browsers are started: headless, a fresh profile each, fake microphone and camera, no
// chatter of their own, and their habit of hiding local addresses from pages switched off, so that
// whatever keeps addresses from leaking is the relay and not the browser.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Browsers leave the machine to the relay and the captures. */
const BEHIND = ['nice', '-n', '10'];

const CHROMIUM = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--no-default-browser-check', '--disable-background-networking', '--disable-component-update',
  '--disable-sync', '--disable-extensions', '--disable-breakpad', '--password-store=basic',
  '--mute-audio', '--autoplay-policy=no-user-gesture-required',
  '--disable-features=WebRtcHideLocalIpsWithMdns,MediaRouter,OptimizationHints,Translate',
  '--use-fake-device-for-media-stream=fps=10', '--use-fake-ui-for-media-stream',
];

const FIREFOX = {
  'app.normandy.enabled': false,
  'app.update.enabled': false,
  'browser.aboutwelcome.enabled': false,
  'browser.newtabpage.enabled': false,
  'browser.safebrowsing.downloads.remote.enabled': false,
  'browser.safebrowsing.malware.enabled': false,
  'browser.safebrowsing.phishing.enabled': false,
  'browser.shell.checkDefaultBrowser': false,
  'browser.startup.homepage_override.mstone': 'ignore',
  'browser.startup.page': 0,
  'browser.tabs.remote.autostart': true,
  'datareporting.healthreport.uploadEnabled': false,
  'datareporting.policy.dataSubmissionEnabled': false,
  'dom.push.enabled': false,
  'extensions.getAddons.cache.enabled': false,
  'extensions.update.enabled': false,
  'media.autoplay.default': 0,
  'media.gmp-manager.url': '',
  'media.gmp-manager.updateEnabled': false,
  'media.navigator.permission.disabled': true,
  'media.navigator.streams.fake': true,
  'media.peerconnection.ice.obfuscate_host_addresses': false,
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
  'network.dns.disablePrefetch': true,
  'network.prefetch-next': false,
  'network.proxy.type': 0,
  'network.trr.mode': 5,
  'services.settings.server': 'data:,#remote-settings-dummy/v1',
  'signon.rememberSignons': false,
  'toolkit.telemetry.enabled': false,
  'toolkit.telemetry.server': '',
  'toolkit.telemetry.unified': false,
  'toolkit.telemetry.reportingpolicy.firstRun': false,
};

/** Command line and environment for a browser that opens `url`, with everything it keeps in `directory`. */
export function browserCommand(name, directory, url) {
  const profile = join(directory, 'profile');
  mkdirSync(profile, { recursive: true });
  const env = { PATH: process.env.PATH, HOME: directory, TMPDIR: directory, LANG: 'C.UTF-8',
    XDG_RUNTIME_DIR: directory, DBUS_SESSION_BUS_ADDRESS: 'disabled:', MOZ_CRASHREPORTER_DISABLE: '1' };
  if (name === 'chromium') return { argv: [...BEHIND, 'chromium', ...CHROMIUM, `--user-data-dir=${profile}`, url], env };
  const prefs = Object.entries(FIREFOX).map(([key, value]) => `user_pref(${JSON.stringify(key)}, ${JSON.stringify(value)});`);
  writeFileSync(join(profile, 'user.js'), prefs.join('\n'));
  return { argv: [...BEHIND, 'firefox-esr', '--headless', '--no-remote', '--profile', profile, url], env };
}
