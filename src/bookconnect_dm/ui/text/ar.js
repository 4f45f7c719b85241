/**
 * In charge of: every Arabic word on the page, under the same names as the English ones.
 * Knows about: how sentences are built, six forms of a count. Does not know about: where they stand.
 */

const rules = new Intl.PluralRules('ar');
const digits = new Intl.NumberFormat('ar');

/**
 * A count with its noun. One and two are words of their own.
 * @param {number} count @param {{one: string, two: string, few: string, many: string, other: string}} forms
 */
function counted(count, forms) {
  const form = rules.select(count);
  if (form === 'one') return forms.one;
  if (form === 'two') return forms.two;
  const noun = form === 'few' ? forms.few : form === 'many' ? forms.many : forms.other;
  return `${digits.format(count)} ${noun}`;
}

const DAYS = { one: 'يوم واحد', two: 'يومين', few: 'أيام', many: 'يومًا', other: 'يوم' };
const CHARACTERS = { one: 'حرف واحد', two: 'حرفان', few: 'أحرف', many: 'حرفًا', other: 'حرف' };
const NEW_MESSAGES = { one: 'رسالة جديدة', two: 'رسالتان جديدتان', few: 'رسائل جديدة', many: 'رسالة جديدة', other: 'رسالة جديدة' };
const UNREAD = { one: 'رسالة غير مقروءة', two: 'رسالتان غير مقروءتين', few: 'رسائل غير مقروءة', many: 'رسالة غير مقروءة', other: 'رسالة غير مقروءة' };
const SECONDS = { one: 'ثانية', two: 'ثانيتين', few: 'ثوانٍ', many: 'ثانية', other: 'ثانية' };

/** @type {Record<string, string>} */
const TIERS = { free: 'المجانية', privileged: 'المميزة', privileged_plus: 'المميزة بلس' };

/** @type {Record<string, string>} */
const LONGER = {
  free: `، ومع العضوية المميزة ${digits.format(180)} يومًا، ومع المميزة بلس سنة كاملة.`,
  privileged: '، ومع العضوية المميزة بلس سنة كاملة.',
};

/** @type {Record<string, string>} */
const PROBLEMS = {
  NETWORK: 'لا يمكن الوصول إلى الخادم الآن.',
  UNAVAILABLE: 'الخادم مشغول الآن.',
  RATE_LIMIT_EXCEEDED: 'رسائل كثيرة دفعة واحدة. انتظر لحظة من فضلك.',
  INTERNAL: 'حدث خطأ لدينا.',
  UNAUTHENTICATED: 'انتهى تسجيل دخولك.',
  PERMISSION_DENIED: 'لا يُسمح لك بذلك.',
  CONVERSATION_NOT_FOUND: 'لم تعد هذه المحادثة موجودة.',
  USER_NOT_FOUND: 'هذا العضو ليس في متاجرك.',
  CONFLICT: 'تعذّر إرسال هذه الرسالة كما هي.',
  LEGAL_HOLD: 'هذه المحادثة محفوظة حاليًا، ولا يمكن حذف شيء منها.',
};

/** @type {import('./languages.js').Words} */
export const ar = {
  direction: 'rtl',
  messages: 'الرسائل',
  conversations: 'المحادثات',
  newMessage: 'رسالة جديدة',
  message: 'مراسلة',
  search: 'بحث',
  searchAll: 'البحث في المحادثات والأعضاء',
  searchMembers: 'البحث عن أعضاء متاجرك',
  clear: 'مسح',
  back: 'رجوع',
  you: 'أنت',
  formerMember: 'عضو سابق',
  formerMemberNote: 'غادر هذا العضو. ما زال بإمكانك قراءة ما هنا.',
  online: 'متصل',
  typing: 'يكتب…',
  isTyping: (name) => `${name} يكتب`,
  unread: (count) => (count >= 100 ? `أكثر من ${digits.format(99)} رسالة غير مقروءة` : counted(count, UNREAD)),
  unreadShort: (count) => (count >= 100 ? `${digits.format(99)}+` : digits.format(count)),
  noMessagesYet: 'لا رسائل بعد',
  emptyInbox: 'لا محادثات بعد. لا بد أن أحدًا هنا قرأ ما تقرؤه.',
  emptyInboxAction: 'ابحث عن عضو',
  emptyInboxFree: 'لا محادثات بعد. عندما يراسلك عضو تظهر رسالته هنا.',
  pickOne: 'اختر محادثة أو ابدأ واحدة جديدة.',
  pickOneFree: 'اختر محادثة لتقرأها.',
  noHits: (text) => `لا أحد ولا شيء يطابق «${text}».`,
  members: 'الأعضاء',
  startOfThread: (name) => `من هنا تبدأ محادثتك مع ${name}.`,
  keptDays: (tier, days) => `ما تكتبه هنا يُحفظ لمدة ${counted(days, DAYS)}${LONGER[tier] ?? '.'}`,
  newDivider: 'جديد',
  newMessages: (count) => counted(count, NEW_MESSAGES),
  toNewest: 'الانتقال إلى أحدث رسالة',
  write: 'اكتب رسالة',
  writeTo: (name) => `اكتب إلى ${name}`,
  send: 'إرسال',
  left: (count) => (count >= 0 ? `بقي ${counted(count, CHARACTERS)}` : `أكثر من المسموح بـ ${counted(-count, CHARACTERS)}`),
  sending: 'يُرسل',
  sendsIn: (seconds) => `كثير دفعة واحدة. يتابع خلال ${counted(seconds, SECONDS)}`,
  waitingToSend: 'بانتظار الإرسال',
  sent: 'أُرسلت',
  seen: 'قُرئت',
  notSent: 'لم تُرسل',
  tryAgain: 'حاول مجددًا',
  discard: 'تجاهل',
  remove: 'حذف',
  removed: 'حُذفت لديكما.',
  undo: 'تراجع',
  couldNotRemove: 'لم تُحذف الرسالة.',
  goesIn: (left) => `تختفي خلال ${left}`,
  keptUntil: (date) => `محفوظة حتى ${date}`,
  until: (date) => `حتى ${date}`,
  thread: (name) => `المحادثة مع ${name}`,
  said: (name, content) => `${name}: ${content}`,
  loadingOlder: 'تحميل الرسائل الأقدم',
  olderFailed: 'تعذّر تحميل الرسائل الأقدم.',
  loading: 'تحميل',
  offline: 'أنت غير متصل. ما تكتبه سيُرسل لاحقًا.',
  reconnecting: 'إعادة الاتصال. ما تكتبه سيُرسل.',
  signedOut: 'انتهى تسجيل دخولك. ما كتبته محفوظ.',
  signInAgain: 'سجّل الدخول مجددًا',
  loadFailed: 'تعذّر تحميل المحادثات.',
  threadFailed: 'تعذّر تحميل الرسائل.',
  searchFailed: 'لم ينجح البحث.',
  notFound: 'لم تعد هذه المحادثة موجودة.',
  toInbox: 'العودة إلى الرسائل',
  cannotStartTitle: 'يمكنك الرد على كل من يراسلك',
  cannotStart: (tier, days) => `مع العضوية ${tier} ترد بحرية، ويُحفظ ما تكتبه لمدة ${counted(days, DAYS)}. مع العضوية المميزة تبدأ المحادثات أيضًا`
    + ` وتبقى كلماتك ${digits.format(180)} يومًا، ومع المميزة بلس سنة كاملة.`,
  replyOnly: 'يمكنك الرد إن وصلتك رسالة',
  takesNone: 'لا يستقبل رسائل جديدة',
  typeToFind: 'اكتب اسمًا لتجد أحدًا.',
  graceNotice: (date) => `تغيّرت عضويتك. تبقى رسائلك بمدتها السابقة حتى ${date}.`,
  notifyOn: 'تشغيل الإشعارات',
  notifyOff: 'إيقاف الإشعارات',
  tier: (tier) => TIERS[tier] ?? TIERS.free,
  problem: (problem) => PROBLEMS[problem.code] ?? problem.detail,
};
