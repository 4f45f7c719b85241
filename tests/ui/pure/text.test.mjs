/** What is shown of a message, and how long it is. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { linkify } from '../../../src/bookconnect_dm/ui/text/linkify.js';
import { hueOf, HUES, initials, isEmojiOnly } from '../../../src/bookconnect_dm/ui/text/person.js';
import { codePoints, toContent, trim, TRIMMED } from '../../../src/bookconnect_dm/ui/text/trim.js';

test('trimming takes every character of the list from both ends and nothing else', () => {
  for (const [first, last] of TRIMMED) {
    for (let at = first; at <= last; at += 1) {
      const blank = String.fromCharCode(at);
      assert.equal(trim(`${blank}a${blank}b${blank}`), `a${blank}b`, `U+${at.toString(16)}`);
    }
  }
  for (const kept of ['\u200b', '\u2060', '\u180e', '\u0000', '\u001f', '\u00ad']) assert.equal(trim(kept), kept);
});

test('trimming does what it does in SQL and in Python', () => {
  const vectors = JSON.parse(readFileSync(new URL('../../vectors/trim.json', import.meta.url), 'utf8'));
  assert.ok(vectors.length > 10);
  for (const { content, trimmed } of vectors) assert.equal(trim(content), trimmed);
});

test('length is counted in code points, as PostgreSQL does', () => {
  assert.equal(codePoints(''), 0);
  assert.equal(codePoints('añ雪'), 3);
  assert.equal(codePoints('📚'.repeat(1000)), 1000);
  assert.equal(codePoints('e\u0301'), 2);
});

test('what no database can hold never leaves the page', () => {
  assert.equal(toContent(' a\0b '), 'ab');
  assert.equal(toContent('a\ud83d'), 'a\ufffd');
  assert.equal(toContent('\u3000\ufeff\n\t'), '');
  assert.equal(toContent('📚'), '📚');
});

test('links are cut out of the sentence around them', () => {
  const hrefs = (text) => linkify(text).filter((part) => part.href).map((part) => part.href);
  assert.deepEqual(hrefs('see https://a.example/b, or (http://c.example/d_(e)).'), ['https://a.example/b', 'http://c.example/d_(e)']);
  assert.deepEqual(hrefs('https://a.example/?q=1&r=2#s!'), ['https://a.example/?q=1&r=2#s']);
  assert.deepEqual(hrefs('"https://a.example"'), ['https://a.example']);
  assert.deepEqual(hrefs('no link at all'), []);
  assert.deepEqual(hrefs('https://'), []);
});

test('the parts of a message joined together are the message', () => {
  const message = 'a https://a.example/. b\nhttp://b.example\u202egnp.exe <i>c</i> https://ü.example/ü?';
  assert.equal(linkify(message).map((part) => part.text).join(''), message);
});

const ATTACKS = [
  '<script>alert(1)</script>', '<img src=x onerror=alert(1)>', '"><svg onload=alert(1)>', "'-alert(1)-'", '<a href="javascript:alert(1)">x</a>',
  'javascript:alert(1)', 'JaVaScRiPt:alert(1)', 'java\tscript:alert(1)', 'data:text/html,<script>alert(1)</script>', 'vbscript:msgbox(1)',
  'https://a.example/"onmouseover="alert(1)', "https://a.example/'onmouseover='alert(1)", 'https://a.example/<script>', 'file:///etc/passwd',
  'blob:https://a.example/1', 'https://bank.example@evil.example/', 'https://user:pass@evil.example/', 'http://\u202eelpmaxe.live',
  '${alert(1)}', '{{constructor.constructor("alert(1)")()}}', '<!--', ']]>', '<style>*{display:none}</style>', '<math><mi xlink:href="javascript:alert(1)">',
  '<iframe srcdoc="<script>alert(1)</script>">', '&lt;script&gt;alert(1)&lt;/script&gt;', '\u003cscript\u003e', '<base href="//evil.example">',
  '<meta http-equiv=refresh content="0;url=//evil.example">', '<x onclick=alert(1)>', 'https://a.example\u0000/', '<svg><script>alert&#40;1&#41;</script>',
];

test('no attack in a message becomes anything but text or a plain web address', () => {
  for (const attack of ATTACKS) {
    const parts = linkify(attack);
    assert.equal(parts.map((part) => part.text).join(''), attack);
    for (const { href } of parts) {
      if (href === undefined) continue;
      const url = new URL(href);
      assert.ok(['http:', 'https:'].includes(url.protocol) && url.username === '', attack);
      assert.doesNotMatch(href, /["'<>\u202a-\u202e]/u, attack);
    }
  }
});

test('initials come from the first and the last word, in any script', () => {
  assert.equal(initials('Ada Lindqvist'), 'AL');
  assert.equal(initials('ada'), 'A');
  assert.equal(initials('Maximiliane-Alexandra von Hohenzollern'), 'MH');
  assert.equal(initials('نور الهدى'), 'نا');
  assert.equal(initials('雪 佐藤'), '雪佐');
  assert.equal(initials('🙂'), '?');
  assert.equal(initials(''), '?');
});

test('a member keeps one colour', () => {
  const hue = hueOf('b0000000-0000-4000-8000-00000000000a');
  assert.equal(hue, hueOf('b0000000-0000-4000-8000-00000000000a'));
  assert.ok(hue >= 0 && hue < HUES);
});

test('one to three emoji and nothing else are shown large', () => {
  for (const large of ['📚', '👍🏽', '👩‍👧‍👦', '🇩🇪', '❤️', '😀😀😀', '1️⃣']) assert.ok(isEmojiOnly(large), large);
  for (const small of ['', 'a', '1', '#', '📚 a', '😀😀😀😀', '©a', '12']) assert.ok(!isEmojiOnly(small), small);
});
